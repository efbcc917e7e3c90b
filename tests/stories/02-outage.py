"""The upstream fails in every way that upstreams fail; clones and fetches of what weir holds go on.

And what is not an outage (401, 403, 404, 410) is passed on and never covered up from the cache.
"""

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until
from lab.wire import POST_V2, fetch

PATIENCE_S = 6.0                    # long, so that also a busy machine's clone from the cache is much quicker
CACHE_SPEED_S = 5.0                 # less than the patience: nobody waited for the upstream

OUTAGES = {
    "killed": lambda site: (site.proxy.refuse(), site.upstream.stop()),
    "unreachable": lambda site: site.proxy.unreachable(),
    "black-holed": lambda site: site.proxy.black_hole(),
    "silent after its headers": lambda site: site.proxy.hold(0),
    "cut in mid-body": lambda site: site.proxy.cut(10),
    "answering 500": lambda site: site.proxy.answer(500),
    "answering 502": lambda site: site.proxy.answer(502),
    "answering 503": lambda site: site.proxy.answer(503),
    "answering 503 with a Retry-After of a year": lambda site: site.proxy.answer(503, [("Retry-After", "31536000")]),
    "answering 504": lambda site: site.proxy.answer(504),
    "answering 429": lambda site: site.proxy.answer(429, [("Retry-After", "31536000")]),
}
SEEN_BY_THE_PROBE = [o for o in OUTAGES if o not in ("silent after its headers", "cut in mid-body", "answering 429")]


def patient(site, **git):
    return site.start_weir(git={"upstream_patience": "%ds" % PATIENCE_S, **git}, links={"stall_timeout": "20s"})


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_warm_repository_outlives_an_upstream(site, outage):
    site.upstream.ordinary_repo("org/project")
    weir = patient(site)
    site.warm("org/project")
    working_copy = site.git.clone(weir.url("org/project"))
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    shallow = site.git.clone(site.upstream.url("org/project"), "--depth=1")
    before = weir.metric("weir_offline_fallbacks_total", service="git")
    OUTAGES[outage](site)

    first = site.git.try_clone(weir.url("org/project"), "--mirror")
    assert first.ok, first
    assert first.seconds < PATIENCE_S + CACHE_SPEED_S
    assert_same_as_direct(first.clone, direct)
    assert weir.metric("weir_offline_fallbacks_total", service="git") > before
    assert weir.metric("weir_git_requests_total", operation="ls-refs", cache="offline", status="ok") >= 1
    assert weir.log_has("offline_fallback", "org/project")

    second = site.git.try_clone(weir.url("org/project"), "--mirror")
    assert second.ok and second.seconds < CACHE_SPEED_S, second
    assert_same_as_direct(second.clone, direct)
    third = site.git.try_clone(weir.url("org/project"), "--mirror", protocol=0)
    assert third.ok and third.seconds < CACHE_SPEED_S, third
    working_copy.fetch("-q")
    assert_same_as_direct(site.git.clone(weir.url("org/project"), "--depth=1"), shallow)
    assert weir.ask("GET", "/readyz").status == 200

    if outage in SEEN_BY_THE_PROBE:
        weir.wait_upstream("down")
        assert weir.metric("weir_upstream_up", upstream="git.test") == 0
        assert weir.metric("weir_upstream_requests_total", upstream="git.test", status="failure") >= 1
        assert weir.log_has("upstream_down", "git.test")


@pytest.mark.parametrize("outage", ["killed", "black-holed", "cut in mid-body", "answering 503"])
def test_the_same_after_a_restart_in_the_outage(site, outage):
    site.upstream.ordinary_repo("org/project")
    weir = patient(site)
    site.warm("org/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    OUTAGES[outage](site)
    weir.restart()

    first = site.git.try_clone(weir.url("org/project"), "--mirror")
    assert first.ok and first.seconds < PATIENCE_S + CACHE_SPEED_S, first
    assert_same_as_direct(first.clone, direct)
    second = site.git.try_clone(weir.url("org/project"), "--mirror")
    assert second.ok and second.seconds < CACHE_SPEED_S, second
    assert weir.metric("weir_offline_fallbacks_total", service="git") >= 1
    assert weir.log_has("offline_fallback", "org/project")


def test_while_the_upstream_is_down_no_request_waits_for_it_or_reaches_it(site):
    site.upstream.ordinary_repo("org/project")
    patient(site)
    site.warm("org/project")
    site.proxy.black_hole()
    site.git.clone(site.weir.url("org/project"))
    site.weir.wait_upstream("down")
    site.proxy.forget()
    for protocol in (0, 1, 2):
        result = site.git.try_clone(site.weir.url("org/project"), protocol=protocol)
        assert result.ok and result.seconds < CACHE_SPEED_S
    assert site.proxy.seen("/org/project") == []


def test_the_probe_carries_no_credential(site):
    site.upstream.ordinary_repo("private/project")
    site.upstream.passwords({"ann": "secret"})
    site.git.clone(site.weir.url("private/project", "ann", "secret"))
    site.proxy.black_hole()
    site.git.try_clone(site.weir.url("private/project", "ann", "secret"))
    site.weir.wait_upstream("down")
    site.proxy.forget()
    wait_until(lambda: len(site.proxy.seen()) >= 2, what="probes")
    assert all("authorization" not in r.headers and "private" not in r.target for r in site.proxy.seen())


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_no_is_passed_on_and_not_covered_up(site, status, restarted):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    no = [("WWW-Authenticate", 'Basic realm="come in"')] if status == 401 else []
    site.proxy.answer(status, no, match="/org/project")
    if restarted:
        weir.restart()
    fallbacks = weir.metric("weir_offline_fallbacks_total", service="git")
    asked = weir.metric("weir_upstream_requests_total", upstream="git.test")

    for protocol in (0, 1, 2):
        result = site.git.try_clone(weir.url("org/project"), protocol=protocol)
        assert not result.ok, result
    for answer in (weir.ask("GET", weir.repo_target("org/project", "info/refs?service=git-upload-pack")),
                   weir.ask_ls_refs("org/project")):
        assert repo.rev() not in answer.text
        if answer.status == 200:        # git shows no body of a failed POST, so an ERR packet is the better message
            assert status != 401 and answer.body[4:8] == b"ERR " and "git.test answered %d" % status in answer.text
            continue
        assert answer.status == status
        if status == 401:
            assert answer.headers["www-authenticate"] == 'Basic realm="come in"'
    assert weir.metric("weir_offline_fallbacks_total", service="git") == fallbacks
    assert weir.metric("weir_git_requests_total", cache="offline") == 0
    assert weir.metric("weir_git_requests_total", status="error") >= 2
    assert weir.metric("weir_upstream_requests_total", upstream="git.test") > asked
    assert not weir.log_has("offline_fallback")
    assert weir.upstream()["state"] == "up"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_no_stands_through_the_outage_after_it(site, status):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    site.proxy.answer(status, match="/org/project")
    assert not site.git.try_clone(weir.url("org/project")).ok
    site.go_offline()
    result = site.git.try_clone(weir.url("org/project"))
    assert not result.ok, "what upstream had refused was served from the cache"
    answer = weir.ask("POST", weir.repo_target("org/project", "git-upload-pack"), POST_V2, fetch([repo.rev()]))
    assert b"PACK" not in answer.body

    site.proxy.pass_all()               # and upstream's next yes opens it again
    site.come_back()
    assert site.git.try_clone(weir.url("org/project")).ok


def test_without_offline_mode_an_outage_is_an_error(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"offline_mode": False})
    site.warm("org/project")
    assert weir.health()["offline_mode"] == "disabled"
    site.go_offline()
    result = site.git.try_clone(weir.url("org/project"))
    assert not result.ok and "weir" in result.err and "git.test" in result.err
    assert weir.metric("weir_offline_fallbacks_total", service="git") == 0


def test_an_operator_switches_an_upstream_off_and_on(site):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    old = repo.rev()
    weir.switch_upstream(False)
    new = repo.commit("main")
    assert weir.upstream()["state"] == "disabled" and weir.upstream()["enabled"] is False
    site.proxy.forget()
    assert site.git.ls_remote(weir.url("org/project")).refs["refs/heads/main"] == old
    assert site.git.try_clone(weir.url("org/project")).ok
    assert site.proxy.seen() == []      # not even a probe
    assert weir.metric("weir_offline_fallbacks_total", service="git") >= 1

    weir.switch_upstream(True)
    weir.wait_upstream("up")
    assert site.git.ls_remote(weir.url("org/project")).refs["refs/heads/main"] == new


def test_switching_an_unknown_upstream_is_an_error(site):
    answer = site.weir.admin("PUT", "/api/v1/upstreams/nobody", {"enabled": False})
    assert answer.status == 404 and answer.headers["content-type"].startswith("application/problem+json")
    assert site.weir.admin("PUT", "/api/v1/upstreams/git.test", {"enabled": "perhaps"}).status in (400, 422)
    assert site.weir.upstream()["enabled"] is True


def test_an_upstream_disabled_in_the_file_is_never_contacted(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    weir = site.weir
    weir.configure(site.options(git={"upstreams": [{"match": "git.test", "url": site.proxy.url, "enabled": False}]}))
    weir.restart()
    site.proxy.forget()
    assert weir.upstream()["state"] == "disabled"
    assert site.git.try_clone(weir.url("org/project")).ok
    assert not site.git.try_clone(weir.url("org/other")).ok
    assert site.proxy.seen() == []


def test_offline_lists_what_it_can_serve_not_what_it_has_seen(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    old = repo.rev()
    site.proxy.cut(after=0, match="command=fetch")
    new = repo.commit("main", count=3)
    repo.commit("brand-new")
    assert site.git.ls_remote(site.weir.url("org/project")).refs["refs/heads/main"] == new
    result = site.git.try_clone(site.weir.url("org/project"))
    assert not result.ok and "weir" in result.err

    site.go_offline()
    refs = site.git.ls_remote(site.weir.url("org/project")).refs
    assert refs["refs/heads/main"] == old and "refs/heads/brand-new" not in refs
    clone = site.git.clone(site.weir.url("org/project"))
    assert clone.rev("HEAD") == old and clone.run("fsck", "--full").ok


@pytest.mark.parametrize("fault", ["cut", "stall", "shorten", "corrupt"])
def test_a_broken_transfer_is_an_error_and_the_next_one_is_right(site, fault):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(links={"stall_timeout": "1s"})
    site.warm("org/project")
    repo.bulk(300)
    apply = {"cut": site.proxy.cut, "stall": site.proxy.hold, "shorten": site.proxy.shorten,
             "corrupt": site.proxy.corrupt}[fault]
    apply(150 * 1024, match="command=fetch")
    result = site.git.try_clone(weir.url("org/project"), "--mirror", limit=30)
    if result.ok:                       # then it was repeated with success, and has to be whole
        assert_same_as_direct(result.clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    assert not result.ok, "the fault was in force all the time"

    site.proxy.pass_all()
    again = site.git.try_clone(weir.url("org/project"), "--mirror")
    assert again.ok, again
    assert_same_as_direct(again.clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    code, out, err = weir.command("repo", "verify", "git.test/org/project")
    assert code == 0, (out, err)


def test_an_upstream_that_goes_up_and_down_all_the_time(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    for i in range(8):
        (site.proxy.refuse if i % 2 == 0 else site.proxy.pass_all)()
        result = site.git.try_clone(site.weir.url("org/project"), "--mirror", protocol=2 if i % 4 < 2 else 0)
        assert result.ok and result.seconds < CACHE_SPEED_S, result
        assert_same_as_direct(result.clone, direct)


def test_health_tells_of_an_outage_but_readiness_does_not_fail(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    assert weir.health()["upstream_status"] in ("unknown", "available")
    site.warm("org/project")
    health = weir.health()
    assert health["status"] == "healthy" and health["upstream_status"] == "available"
    assert health["offline_mode"] == "inactive" and health["cached_repos"] == 1
    site.go_offline()
    site.git.clone(weir.url("org/project"))
    health = weir.health()
    assert health["upstream_status"] == "unavailable" and health["offline_mode"] == "active"
    assert {"name": "git.test", "state": "down"}.items() <= health["components"]["upstreams"][0].items()
    assert health["cache_stats"]["hits"] >= 1 and health["cache_stats"]["misses"] >= 1
    for service in ("git", "admin"):
        assert weir.ask("GET", "/readyz", service=service).status == 200
        assert weir.ask("GET", "/livez", service=service).status == 200
        answer = weir.ask("GET", "/healthz", service=service)
        assert answer.status == 200 and answer.text.strip() == "ok"
