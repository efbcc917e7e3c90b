"""What the upstream guards with a password, weir guards: online, offline, and while an answer is under way.

The password is in no log, metric, command line, environment or file.
"""

import base64
import os
import threading

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until
from lab.wire import POST_V0, basic, fetch_v0

REPO = "private/project"
GOOD = "correct-horse-battery"
ANN = basic("ann", GOOD)
STRANGERS = {"nobody": None, "a wrong password": basic("ann", "wrong"), "somebody unknown": basic("eve", GOOD),
             "a bearer token": "Bearer " + GOOD, "an empty credential": basic("", "")}


@pytest.fixture
def scene(site):
    site.repository = site.upstream.ordinary_repo(REPO)
    site.upstream.passwords({"ann": GOOD, "bob": "bobs-own"})
    return site


def url(site, user="ann", password=GOOD):
    return site.weir.url(REPO, user, password)


def warm(site):
    site.git.clone(url(site), "--mirror")
    site.weir.wait_filled(REPO)


def assert_shut(site, auth, statuses=(401, 403, 404, 502, 503, 504)):
    """With this Authorization nothing of the repository comes out, whichever way one asks."""
    weir, tip = site.weir, site.repository.rev()
    headers = {"Authorization": auth} if auth else {}
    answers = [
        weir.ask("GET", weir.repo_target(REPO, "info/refs?service=git-upload-pack"), headers),
        weir.ask_ls_refs(REPO, auth=auth),
        weir.ask_fetch(REPO, [tip], auth=auth),
        weir.ask("POST", weir.repo_target(REPO, "git-upload-pack"), {**POST_V0, **headers}, fetch_v0([tip])),
    ]
    for answer in answers:
        assert b"PACK" not in answer.body and tip not in answer.text, answer
        assert answer.status in statuses or (answer.status == 200 and "ERR " in answer.text), answer


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_right_password_reads_online_and_offline(scene, protocol):
    clone = scene.git.clone(url(scene), "--mirror", protocol=protocol)
    direct = scene.git.clone(scene.upstream.url(REPO, "ann", GOOD), "--mirror", protocol=protocol)
    assert_same_as_direct(clone, direct)
    scene.weir.wait_filled(REPO)
    scene.go_offline()
    offline = scene.git.try_clone(url(scene), "--mirror", protocol=protocol)
    assert offline.ok, offline
    assert_same_as_direct(offline.clone, direct)


def test_git_is_asked_for_a_password(scene):
    """A 401 with its challenge arrives, so that git turns to its helper, and the helper's answer is used."""
    for protocol in (0, 2):
        helper = 'credential.helper=!f() { echo username=ann; echo password=%s; }; f' % GOOD
        result = scene.git.try_clone(scene.weir.url(REPO), protocol=protocol, config=[helper])
        assert result.ok, result
    answer = scene.weir.ask("GET", scene.weir.repo_target(REPO, "info/refs?service=git-upload-pack"))
    assert answer.status == 401 and 'realm="the upstream"' in answer.headers["www-authenticate"]
    result = scene.git.try_clone(scene.weir.url(REPO))
    assert not result.ok and "could not read Username" in result.err


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_reads_nothing_online(scene, who):
    warm(scene)
    assert_shut(scene, STRANGERS[who], statuses=(401,))


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_reads_nothing_offline(scene, who):
    warm(scene)
    scene.go_offline()
    fallbacks = scene.weir.metric("weir_offline_fallbacks_total", service="git")
    assert_shut(scene, STRANGERS[who])
    assert scene.weir.metric("weir_offline_fallbacks_total", service="git") == fallbacks
    assert scene.git.try_clone(url(scene)).ok      # while Ann still may


def test_a_black_hole_costs_a_private_clone_no_more_than_patience(scene):
    """git shows its password only after a 401, so its first request is a stranger's; that must not wait for long either."""
    scene.start_weir(git={"upstream_timeout": "40s"})
    warm(scene)
    scene.proxy.black_hole()
    first = scene.git.try_clone(url(scene))
    assert first.ok and first.seconds < 15, first       # 1 s of patience, and a busy machine


def test_offline_a_stranger_is_told_why(scene):
    warm(scene)
    scene.go_offline()
    result = scene.git.try_clone(url(scene, "ann", "wrong"))
    assert not result.ok and "weir" in result.err and "git.test" in result.err, result.err


def test_somebody_with_another_right_password_must_have_been_seen_before_the_outage(scene):
    warm(scene)
    scene.go_offline()
    assert_shut(scene, basic("bob", "bobs-own"))
    scene.come_back()
    assert scene.git.try_clone(url(scene, "bob", "bobs-own")).ok
    scene.go_offline()
    assert scene.git.try_clone(url(scene, "bob", "bobs-own")).ok


def test_a_grant_for_one_repository_opens_no_other(scene):
    other = scene.upstream.ordinary_repo("private/other")
    warm(scene)
    scene.git.clone(scene.weir.url("private/other", "bob", "bobs-own"), "--mirror")
    scene.weir.wait_filled("private/other")
    scene.go_offline()
    assert scene.git.try_clone(url(scene)).ok
    assert not scene.git.try_clone(scene.weir.url("private/other", "ann", GOOD)).ok
    answer = scene.weir.ask_fetch("private/other", [other.rev()], auth=ANN)
    assert b"PACK" not in answer.body


def test_an_object_of_one_repository_does_not_come_out_of_another(scene):
    """The wanted id is in the cache, but not in the repository that was named and may be read."""
    scene.upstream.ordinary_repo("org/public")
    secret = scene.repository.commit("main", {"secret": "42\n"})
    warm(scene)
    scene.warm("org/public")
    for offline in (False, True):
        if offline:
            scene.go_offline()
        answer = scene.weir.ask_fetch("org/public", [secret])
        assert b"PACK" not in answer.body


def test_a_password_that_upstream_has_since_refused_is_refused_offline_too(scene):
    weir = scene.start_weir(git={"grant_ttl": "1s"})
    warm(scene)
    scene.upstream.passwords({"ann": "changed"})
    wait_until(lambda: not scene.git.try_clone(url(scene)).ok, what="the new password is demanded")
    assert_shut(scene, ANN, statuses=(401,))
    scene.go_offline()
    assert_shut(scene, ANN)
    weir.restart()
    assert_shut(scene, ANN)


def test_a_bare_fetch_shows_its_credential_to_upstream_when_its_grant_is_old(scene):
    scene.start_weir(git={"grant_ttl": "1s"})
    warm(scene)
    scene.upstream.passwords({"ann": "changed"})
    wait_until(lambda: b"PACK" not in scene.weir.ask_fetch(REPO, [scene.repository.rev()], auth=ANN).body,
               what="the cached pack is no longer given out")
    answer = scene.weir.ask_fetch(REPO, [scene.repository.rev()], auth=ANN)
    assert answer.status == 401 and "www-authenticate" in answer.headers


def test_the_offline_grant_ends(scene):
    scene.start_weir(git={"offline_grant": "3s", "grant_ttl": "1s"})
    warm(scene)
    scene.go_offline()
    wait_until(lambda: not scene.git.try_clone(url(scene)).ok, limit=30, what="the offline grant is over")
    assert_shut(scene, ANN)
    scene.come_back()
    assert scene.git.try_clone(url(scene)).ok


def test_the_offline_grant_outlives_a_restart(scene):
    warm(scene)
    scene.proxy.refuse()
    scene.weir.restart()
    assert scene.git.try_clone(url(scene)).ok
    assert_shut(scene, basic("ann", "wrong"))
    assert_shut(scene, None)


def test_a_stranger_does_not_join_an_answer_under_way(scene):
    """Ann's clone is half-way; the very same request with a wrong password must not ride along."""
    scene.repository.bulk(300)
    weir, tip = scene.weir, scene.repository.rev()
    scene.proxy.hold(100 * 1024, match="command=fetch")
    answers = {}

    def ask(who, auth):
        answers[who] = weir.ask_fetch(REPO, [tip], auth=auth, timeout=60)

    anns = threading.Thread(target=ask, args=("ann", ANN))
    anns.start()
    scene.proxy.wait_held()
    for who, auth in STRANGERS.items():
        ask(who, auth)
        assert answers[who].status == 401 and b"PACK" not in answers[who].body
    scene.proxy.release()
    anns.join(60)
    assert b"PACK" in answers["ann"].body


def test_an_answer_kept_for_one_is_given_to_nobody_else(scene):
    """Asked often enough, the answer to this very request lies ready as a file."""
    scene.repository.bulk(300)
    scene.start_weir(git={"grant_ttl": "1s"})
    weir, tip = scene.weir, scene.repository.rev()
    warm(scene)

    def kept():
        assert b"PACK" in weir.ask_fetch(REPO, [tip], auth=ANN).body
        return weir.metric("weir_git_kept_answers_total", outcome="hit") > 0
    wait_until(kept, what="the answer comes from a file")
    for offline in (False, True):
        if offline:
            scene.go_offline()
        for who, auth in STRANGERS.items():
            assert b"PACK" not in weir.ask_fetch(REPO, [tip], auth=auth).body, who
        assert b"PACK" in weir.ask_fetch(REPO, [tip], auth=ANN).body
    scene.come_back()
    scene.upstream.passwords({"ann": "changed"})
    wait_until(lambda: weir.ask_fetch(REPO, [tip], auth=ANN).status == 401, what="the old password is refused")
    weir.restart()
    assert_shut(scene, ANN, statuses=(401,))


def test_a_stranger_does_not_join_a_listing_under_way(scene):
    warm(scene)
    scene.proxy.hold(0, match=ANN)
    answers = {}
    anns = threading.Thread(target=lambda: answers.update(ann=scene.weir.ask_ls_refs(REPO, auth=ANN)))
    anns.start()
    scene.proxy.wait_held()
    stranger = scene.weir.ask_ls_refs(REPO, auth=basic("ann", "wrong"))
    assert stranger.status == 401
    scene.proxy.release()
    anns.join(30)
    assert answers["ann"].status == 200


def test_a_public_repository_needs_no_password_and_is_not_hidden_by_one(scene):
    scene.upstream.ordinary_repo("org/public")
    scene.git.clone(scene.weir.url("org/public", "ann", GOOD), "--mirror")
    scene.git.clone(scene.weir.url("org/public"), "--mirror")
    scene.weir.wait_filled("org/public")
    scene.go_offline()
    assert scene.git.try_clone(scene.weir.url("org/public")).ok
    assert scene.git.try_clone(scene.weir.url("org/public", "ann", GOOD)).ok


# weir's own credential

def configured(site, auth, secret):
    return site.start_weir(git={"upstreams": [{"match": "git.test", "url": site.proxy.url, "auth": auth,
                                               "secret_file": site.file("secret", secret + "\n")}]})


def test_weirs_own_password_reads_for_everybody(scene):
    weir = configured(scene, "basic", "ann:" + GOOD)
    clone = scene.git.clone(weir.url(REPO), "--mirror")
    assert_same_as_direct(clone, scene.git.clone(scene.upstream.url(REPO, "ann", GOOD), "--mirror"))
    weir.wait_filled(REPO)
    scene.go_offline()
    assert scene.git.try_clone(weir.url(REPO)).ok


def test_weirs_own_token_goes_upstream_as_bearer(scene):
    scene.upstream.ordinary_repo("org/project")
    weir = configured(scene, "bearer", "a-token-of-weir")
    scene.git.clone(weir.url("org/project", "ann", GOOD))
    weir.wait_filled("org/project")
    sent = {r.headers.get("authorization") for r in scene.proxy.seen("/org/project")}
    assert sent == {"Bearer a-token-of-weir"}
    assert_nowhere(scene, "a-token-of-weir")


def test_clients_of_weirs_own_credential_may_have_to_show_a_token(scene):
    weir = scene.start_weir(git={"client_token_file": scene.file("token", "a-token-for-clients\n"), "upstreams": [
        {"match": "git.test", "url": scene.proxy.url, "auth": "basic", "secret_file": scene.file("secret", "ann:" + GOOD)}]})
    assert scene.git.try_clone(weir.url(REPO, "anybody", "a-token-for-clients")).ok
    assert weir.ask_ls_refs(REPO, auth="Bearer a-token-for-clients").status == 200
    for offline in (False, True):
        if offline:
            weir.wait_filled(REPO)
            scene.go_offline("anybody", "a-token-for-clients")
        for auth in (None, "Bearer wrong", basic("a-token-for-clients", ""), ANN):
            assert_shut(scene, auth, statuses=(401,))
    assert not [r for r in scene.proxy.seen() if "a-token" in str(r.headers)]


def test_auth_none_sends_no_credential_upstream(scene):
    scene.upstream.ordinary_repo("org/project")
    weir = scene.start_weir(git={"upstreams": [{"match": "git.test", "url": scene.proxy.url, "auth": "none"}]})
    assert scene.git.try_clone(weir.url("org/project", "ann", GOOD)).ok
    assert scene.weir.ask_ls_refs("org/project", auth=ANN).status == 200
    assert not [r for r in scene.proxy.seen() if "authorization" in r.headers]


# Secrets

def forms(secret):
    """A secret, and how it looks in headers and stores."""
    forms = {secret.encode()}
    for text in (secret, "ann:" + secret):
        forms.add(base64.b64encode(text.encode()).rstrip(b"="))
    return forms


def assert_nowhere(site, secret):
    """Not in any file that weir has written, nor in its log, metrics and admin API."""
    weir = site.weir
    for folder, _, names in os.walk(weir.dir):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    data = f.read()
                for form in forms(secret):
                    assert form not in data, "%r is in %s" % (form, path)
    pages = [weir.metrics_text(), repr(weir.status()), weir.admin("GET", "/api/v1/repos").text,
             weir.admin("GET", "/api/v1/upstreams").text, weir.admin("GET", "/").text]
    for page in pages:
        for form in forms(secret):
            assert form.decode() not in page


def descendants(pid):
    out = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            out.append((int(name), parent))
    family = {pid}
    while True:
        more = {p for p, parent in out if parent in family} | family
        if more == family:
            return family
        family = more


def assert_not_in_processes(site, secret):
    for pid in descendants(site.weir.process.pid):
        for what in ("cmdline", "environ"):
            try:
                with open("/proc/%d/%s" % (pid, what), "rb") as f:
                    data = f.read()
            except OSError:
                continue
            for form in forms(secret):
                assert form not in data, "in %s of %d" % (what, pid)


@pytest.mark.parametrize("auth", ["passthrough", "basic"])
def test_the_password_is_nowhere(scene, auth):
    if auth == "basic":
        configured(scene, "basic", "ann:" + GOOD)
    for i, hold in enumerate(("command=ls-refs", "command=fetch")):     # look around in the middle of both exchanges
        scene.repository.bulk(100, seed=i)
        scene.proxy.hold(10, match=hold)
        clone = scene.git.start_clone(url(scene), "--mirror")
        scene.proxy.wait_held()
        assert_not_in_processes(scene, GOOD)
        scene.proxy.release()
        assert clone.wait().ok
    scene.weir.wait_filled(REPO)
    scene.git.try_clone(url(scene, "ann", "wrong-" + GOOD))
    pushing = scene.git.clone(url(scene))
    pushing.run("commit", "-q", "--allow-empty", "-m", "pushed")
    pushing.run("push", "-q", "origin", "HEAD:main")
    scene.go_offline()
    scene.git.clone(url(scene))
    assert_nowhere(scene, GOOD)
    scene.weir.stop()
    for form in forms(GOOD):
        assert form.decode() not in scene.weir.whole_log()


def test_a_password_in_the_url_is_not_repeated_in_errors(scene):
    scene.proxy.refuse()
    for target in ("http://ann:%s@git.test/%s/info/refs?service=git-upload-pack" % (GOOD, REPO),
                   "/ann:%s@git.test/%s/info/refs?service=git-upload-pack" % (GOOD, REPO)):
        answer = scene.weir.ask("GET", target)
        assert answer.status >= 400 and GOOD not in answer.text
    assert GOOD not in scene.weir.whole_log()
