"""A costly answer is kept as a file, and the next who asks the same gets the file: whoever he is, as long as he may."""

import os

import pytest

from lab.gitkit import assert_same_as_direct
from lab.streaming import bare_repository, has_sound_pack, kept_files, pack_of_answer
from lab.wait import wait_until
from lab.wire import DELIM, FLUSH, POST_V0, POST_V2, basic, fetch_v0, packs_in, pkt

NAME = "org/project"
PRIVATE = "private/project"
ANN, BOB = basic("ann", "anns-own"), basic("bob", "bobs-own")
COSTLY_KIB = 600


@pytest.fixture
def scene(site):
    """A warm repository, large enough for its answers to be kept."""
    site.repository = site.upstream.ordinary_repo(NAME)
    site.repository.commit("main", count=3)
    site.repository.bulk(COSTLY_KIB)
    site.warm(NAME)
    return site


def wants_of(repo):
    return sorted(set(repo.refs().values()))


def command(wants, agent="git/2.39.5", session="", arguments=("thin-pack", "ofs-delta"), haves=()):
    """A v2 fetch command as the gits of this world send it."""
    head = pkt("command=fetch") + (pkt("agent=" + agent) if agent else b"") + pkt("object-format=sha1")
    if session:
        head += pkt("session-id=" + session)
    return (head + DELIM + b"".join(pkt(a + "\n") for a in arguments) + b"".join(pkt("want %s\n" % w) for w in wants)
            + b"".join(pkt("have %s\n" % h) for h in haves) + pkt("done\n") + FLUSH)


def post(weir, body, name=NAME, auth=None, version=2):
    headers = dict(POST_V2 if version == 2 else POST_V0, **({"Authorization": auth} if auth else {}))
    return weir.ask("POST", weir.repo_target(name, "git-upload-pack"), headers, body)


def kept(weir, outcome):
    return weir.metric("weir_git_kept_answers_total", outcome=outcome)


def wait_kept(weir, body, name=NAME, auth=None, version=2):
    """Ask until the answer comes from its file; returns that answer. (One that finds another reader reads along with
    him, which is no hit of the file.)"""
    def asked():
        before = kept(weir, "hit")
        answer = post(weir, body, name, auth, version)
        assert answer.status == 200, answer
        return kept(weir, "hit") > before and answer
    answer = wait_until(asked, what="the answer is kept")
    assert "hit" in answer.headers["cache-status"], answer.headers
    return answer


def without_packs(weir):
    """From now on no child could make an answer from this repository. Call the result to put its packs back."""
    packs = os.path.join(bare_repository(weir), "objects", "pack")
    os.rename(packs, packs + ".away")
    os.mkdir(packs)

    def put_back():
        os.rmdir(packs)
        os.rename(packs + ".away", packs)
    return put_back


# What counts

SAME = {
    "an old git": lambda wants: command(wants, agent="git/2.18.0"),
    "a git of somebody's own": lambda wants: command(wants, agent="JGit/6.10.0.202406032230-r"),
    "a git that does not say": lambda wants: command(wants, agent=""),
    "a session id": lambda wants: command(wants, session="1c2d3e4f-20260101T000000.000001Z"),
    "another order": lambda wants: command(wants[::-1]),
    "repeated wants": lambda wants: command(wants + wants[:2]),
    "arguments in another order": lambda wants: command(wants, arguments=("ofs-delta", "thin-pack")),
}

OTHER = {
    "fewer wants": lambda wants: command(wants[1:]),
    "no ofs-delta": lambda wants: command(wants, arguments=("thin-pack",)),
    "a filter": lambda wants: command(wants, arguments=("thin-pack", "ofs-delta", "filter blob:none")),
    "a depth": lambda wants: command(wants, arguments=("thin-pack", "ofs-delta", "deepen 1")),
    "a have": lambda wants: command(wants, haves=wants[:1]),
}


def test_who_asks_and_how_it_is_put_does_not_matter(scene):
    wants = wants_of(scene.repository)
    first = wait_kept(scene.weir, command(wants))
    assert pack_of_answer(first.body)[:4] == b"PACK" and len(first.body) > COSTLY_KIB * 1024
    stored = kept(scene.weir, "stored")
    put_back = without_packs(scene.weir)
    scene.proxy.forget()
    for what, make in SAME.items():
        assert wait_kept(scene.weir, make(wants)).body == first.body, what
    put_back()
    assert kept(scene.weir, "stored") == stored
    assert scene.proxy.count(command="fetch") == 0


@pytest.mark.parametrize("what", OTHER)
def test_what_changes_the_objects_is_another_answer(scene, what):
    wants = wants_of(scene.repository)
    first = wait_kept(scene.weir, command(wants))
    hits = kept(scene.weir, "hit")
    other = post(scene.weir, OTHER[what](wants))
    assert other.status == 200 and pack_of_answer(other.body)[:4] == b"PACK"
    assert other.body != first.body and kept(scene.weir, "hit") == hits


@pytest.mark.parametrize("version", [0, 2])
def test_old_protocols_have_kept_answers_of_their_own(scene, version):
    wants = wants_of(scene.repository)
    body = command(wants) if version == 2 else fetch_v0(wants)
    first = wait_kept(scene.weir, body, version=version)
    other = post(scene.weir, fetch_v0(wants) if version == 2 else command(wants), version=2 - version)
    assert other.status == 200 and other.body != first.body


def test_a_cheap_answer_is_kept_when_it_is_asked_for_again(site):
    repo = site.upstream.ordinary_repo(NAME)
    site.warm(NAME)
    body = command([repo.rev()], arguments=("thin-pack", "ofs-delta", "deepen 1"))
    first = post(site.weir, body)
    again = wait_kept(site.weir, body)
    assert has_sound_pack(again.body) and packs_in(again.body) == packs_in(first.body)
    assert kept(site.weir, "stored") >= 1


# How long

def test_kept_answers_outlive_the_daemon_and_the_upstream(scene):
    body = command(wants_of(scene.repository))
    first = wait_kept(scene.weir, body)
    scene.weir.restart()
    put_back = without_packs(scene.weir)
    scene.proxy.forget()
    assert wait_kept(scene.weir, body).body == first.body
    assert scene.proxy.count(command="fetch") == 0
    scene.go_offline()
    answer = post(scene.weir, body)
    assert answer.status == 200 and answer.body == first.body
    assert "hit" in answer.headers["cache-status"] and "detail=offline" in answer.headers["cache-status"]
    put_back()
    scene.weir.kill9()
    scene.weir.restart()
    put_back = without_packs(scene.weir)
    assert wait_kept(scene.weir, body).body == first.body
    put_back()
    assert kept(scene.weir, "damaged") == 0


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


DAMAGE = {
    "a flipped byte": lambda data: flip(data, len(data) // 3),
    "a flipped byte at the end": lambda data: flip(data, len(data) - 1),
    "cut short": lambda data: data[:-100],
    "longer": lambda data: data + b"more",
    "zeros": lambda data: bytes(len(data)),
}


def is_the_same(answer, first):
    """The same objects; git may well put them into another pack the next time."""
    return has_sound_pack(answer.body) and packs_in(answer.body) == packs_in(first.body)


CASES = [(how, False) for how in DAMAGE] + [("a flipped byte", True)]


@pytest.mark.parametrize("how, offline", CASES, ids=lambda v: v if isinstance(v, str) else ("online", "offline")[v])
def test_a_damaged_file_is_noticed_and_made_anew(scene, how, offline):
    body = command(wants_of(scene.repository))
    first = wait_kept(scene.weir, body)
    scene.weir.stop()
    files = kept_files(scene.weir)
    assert files
    for path in files:
        with open(path, "rb") as f:
            data = f.read()
        with open(path, "wb") as f:
            f.write(DAMAGE[how](data))
    scene.weir.restart()
    if offline:
        scene.go_offline()
    answer = post(scene.weir, body)
    assert answer.status == 200 and is_the_same(answer, first), "the damage was served"
    assert kept(scene.weir, "damaged") == 1
    assert scene.weir.log_has("answer_damaged")
    assert is_the_same(wait_kept(scene.weir, body), first)
    assert kept(scene.weir, "damaged") == 1
    clone = scene.git.clone(scene.weir.url(NAME), "--mirror")
    assert clone.run("fsck", "--full").ok and clone.refs().split() == [
        w for ref, oid in sorted(scene.repository.refs().items()) for w in (ref, oid)]


def test_answers_go_with_their_repository(scene):
    scene.upstream.ordinary_repo("org/other").bulk(COSTLY_KIB, seed=2)
    body = command(wants_of(scene.repository))
    wait_kept(scene.weir, body)
    gone = kept_files(scene.weir)
    scene.git.clone(scene.weir.url("org/other"), "--mirror")
    scene.weir.wait_filled("org/other")
    staying = set(wait_until(lambda: set(kept_files(scene.weir)) - set(gone), what="the other's answer is kept"))
    assert gone
    scene.weir.evict(NAME)
    assert set(kept_files(scene.weir)) == staying
    assert not [p for p in gone if os.path.exists(os.path.dirname(p))]
    scene.go_offline()
    answer = post(scene.weir, body)
    assert b"PACK" not in answer.body
    assert scene.git.try_clone(scene.weir.url("org/other"), "--mirror").ok


def bytes_kept(weir):
    return sum(os.path.getsize(p) for p in kept_files(weir) if os.path.exists(p))


def test_kept_answers_stay_within_the_disk_budget(site):
    """Many different costly answers of one repository: the oldest go, the repository stays, and all are right."""
    most = 6 * 1024 * 1024
    weir = site.start_weir(git={"disk": {"max": "6MiB", "low": "5MiB"}})
    repo = site.upstream.ordinary_repo(NAME)
    repo.commit("main", count=12)
    repo.bulk(COSTLY_KIB)
    site.warm(NAME)
    tip, older = repo.rev(), [repo.rev("refs/heads/main~%d" % i) for i in range(1, 13)]
    sizes = [len(pack_of_answer(post(weir, command([tip, oid])).body)) for oid in older]
    assert sum(sizes) > most, "the answers do not even fill the budget"
    wait_until(lambda: weir.metric("weir_cache_bytes", service="git") <= most, what="within the budget")
    wait_until(lambda: bytes_kept(weir) <= most, what="and on the disk")
    assert 0 < len(kept_files(weir)) < len(older)
    assert weir.repo(NAME)["state"] == "ready"
    assert post(weir, command([tip, older[0]])).status == 200
    straight = site.git.clone(site.upstream.url(NAME), "--mirror")
    assert_same_as_direct(site.git.clone(weir.url(NAME), "--mirror"), straight)


# Whose

def assert_shut(weir, body, auth):
    answer = post(weir, body, PRIVATE, auth)
    assert answer.status in (401, 403, 404, 503) or b"ERR " in answer.body, answer
    assert b"PACK" not in answer.body and len(answer.body) < 4096


STRANGERS = {"nobody": None, "a wrong password": basic("ann", "wrong"), "somebody without a grant": BOB}


@pytest.fixture
def guarded(site):
    site.repository = site.upstream.ordinary_repo(PRIVATE)
    site.repository.bulk(COSTLY_KIB)
    site.upstream.passwords({"ann": "anns-own"})
    return site


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_gets_nothing_of_a_kept_answer(guarded, who):
    weir, body = guarded.weir, command(wants_of(guarded.repository))
    guarded.git.clone(weir.url(PRIVATE, "ann", "anns-own"), "--mirror")
    weir.wait_filled(PRIVATE)
    wait_kept(weir, body, PRIVATE, ANN)
    hits = kept(weir, "hit")
    assert_shut(weir, body, STRANGERS[who])
    guarded.go_offline(user="ann", password="anns-own")
    assert_shut(weir, body, STRANGERS[who])
    assert kept(weir, "hit") == hits
    weir.restart()
    assert_shut(weir, body, STRANGERS[who])
    assert kept(weir, "hit") == 0


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_does_not_join_an_answer_under_way(guarded, who):
    weir, body = guarded.weir, command(wants_of(guarded.repository))
    guarded.proxy.slow(64 * 1024, match="command=fetch")
    clone = guarded.git.start_clone(weir.url(PRIVATE, "ann", "anns-own"), "--mirror")
    wait_until(lambda: any(r.answer_bytes > 20000 for r in guarded.proxy.seen(command="fetch")),
               what="the transfer is under way")
    assert_shut(weir, body, STRANGERS[who])
    assert not guarded.git.try_clone(weir.url(PRIVATE, "bob", "bobs-own"), "--mirror").ok
    assert not guarded.proxy.seen(command="fetch")[0].done, "the transfer was too quick"
    guarded.proxy.pass_all()
    assert clone.wait().ok


def test_somebody_else_who_may_gets_the_kept_answer(guarded):
    guarded.upstream.passwords({"ann": "anns-own", "bob": "bobs-own"})
    weir, body = guarded.weir, command(wants_of(guarded.repository))
    guarded.git.clone(weir.url(PRIVATE, "ann", "anns-own"), "--mirror")
    weir.wait_filled(PRIVATE)
    first = wait_kept(weir, body, PRIVATE, ANN)
    assert wait_kept(weir, body, PRIVATE, BOB).body == first.body


# Ready before anybody asks

@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_after_a_warm_the_first_clone_is_served_from_a_file(site, offline):
    repo = site.upstream.ordinary_repo(NAME)
    weir = site.weir
    code, out, err = weir.command("repo", "warm", "git.test/" + NAME)
    assert code == 0, (out, err)
    wait_until(lambda: kept_files(weir), what="the answer to git clone is ready")
    assert weir.log_has("clone_prepared", repository="git.test/" + NAME)
    if offline:
        site.go_offline()
    site.proxy.forget()
    hits = kept(weir, "hit")
    put_back = without_packs(weir)
    clone = site.git.clone(weir.url(NAME))
    assert kept(weir, "hit") == hits + 1
    assert site.proxy.count(command="fetch") == 0
    put_back()
    assert clone.rev("HEAD") == repo.rev() and clone.run("fsck", "--full").ok


def test_a_second_warm_makes_the_answer_of_today_ready(site):
    repo = site.upstream.ordinary_repo(NAME)
    weir = site.weir
    for _ in range(2):
        tip = repo.commit("main", count=2)
        files = len(kept_files(weir))
        assert weir.command("repo", "warm", "git.test/" + NAME)[0] == 0
        wait_until(lambda: len(kept_files(weir)) > files, what="another answer is ready")  # noqa: B023
        hits = kept(weir, "hit")
        assert site.git.clone(weir.url(NAME)).rev("HEAD") == tip
        assert kept(weir, "hit") == hits + 1
