"""A cold clone passes through: at the speed of the line, once for all who ask, and taken in afterwards."""

import glob
import os
import statistics
import time

import pytest

from lab.gitkit import assert_same_as_direct
from lab.streaming import SlowReader, assert_fsck, bare_repository, has_sound_pack, holds, wait_no_quarantine
from lab.wait import wait_until
from lab.wire import POST_V2, fetch

NAME = "org/project"
CLIENTS = 50


def transfers(site, name=""):
    """The fetch commands that reached the upstream."""
    return [r for r in site.proxy.seen("git-upload-pack", "POST", "fetch") if name in r.target]


def is_receiving(clone):
    """Has this clone's git got the beginning of a pack? Its first bytes are on the disk."""
    found = glob.glob(clone.path + "/objects/pack/tmp_pack_*") + glob.glob(clone.path + "/.git/objects/pack/tmp_pack_*")
    try:
        return any(os.path.getsize(path) for path in found)
    except FileNotFoundError:           # it has its name now
        return True


def wait_receiving(clones, limit=60):
    wait_until(lambda: all(is_receiving(c) for c in clones), limit, "all clients have the beginning of the pack")


def start_together(site, count):
    """So many clones that read one transfer: one that begins it, and others that find it under way."""
    clones = [site.git.start_clone(site.weir.url(NAME), "--mirror")]
    wait_receiving(clones)
    clones += [site.git.start_clone(site.weir.url(NAME), "--mirror") for _ in range(count - 1)]
    wait_receiving(clones)
    return clones


def direct(site, *args):
    return site.git.clone(site.upstream.url(NAME), *args)


# One transfer for all

@pytest.mark.parametrize("first_is_killed", [False, True], ids=["all stay", "the first is killed"])
def test_fifty_cold_clones_read_one_transfer(site, first_is_killed):
    repo = site.upstream.ordinary_repo(NAME)
    repo.commit("main", count=50)
    repo.bulk(1024)
    site.proxy.slow(20 * 1024, match="command=fetch")
    clones = start_together(site, CLIENTS)
    assert not transfers(site)[0].done, "the transfer was too quick to be joined"
    if first_is_killed:
        clones[0].kill()
        clones[0].wait()
        clones = clones[1:]
    site.proxy.pass_all()
    results = [c.wait(80) for c in clones]
    assert all(r.ok for r in results), [r for r in results if not r.ok][0]
    site.weir.wait_filled(NAME)
    assert len(transfers(site)) == 1, transfers(site)
    assert site.proxy.objects_sent() == repo.object_count()
    straight = direct(site, "--mirror")
    assert all(c.clone.refs() == straight.refs() for c in clones)
    for c in clones[::12]:
        assert_same_as_direct(c.clone, straight)
    assert_fsck(bare_repository(site.weir), site.env)


def test_a_transfer_that_nobody_reads_any_more_is_given_up(site):
    site.upstream.ordinary_repo(NAME).bulk(1024)
    weir = site.start_weir(git={"sync": "on_demand"})
    site.proxy.slow(20 * 1024, match="command=fetch")
    clones = start_together(site, 3)
    for c in clones:
        c.kill()
        c.wait()
    wait_until(lambda: transfers(site)[0].abandoned, what="nobody wants it, so it is given up")
    site.proxy.pass_all()
    wait_no_quarantine(weir)
    assert_same_as_direct(site.git.clone(weir.url(NAME), "--mirror"), direct(site, "--mirror"))


def test_a_slow_reader_slows_nobody(site):
    repo = site.upstream.ordinary_repo(NAME)
    tip = repo.bulk(8 * 1024)
    command = fetch(sorted(set(repo.refs().values())))
    slow = SlowReader(site.weir, NAME, command)
    wait_until(lambda: len(slow.read) > 1000, what="the slow reader has begun")
    others = [site.git.start_clone(site.weir.url(NAME), "--mirror") for _ in range(3)]
    same = site.weir.ask("POST", site.weir.repo_target(NAME, "git-upload-pack"), POST_V2, command)
    assert same.status == 200 and has_sound_pack(same.body)
    assert all(o.wait().ok for o in others)
    site.weir.wait_filled(NAME)
    assert len(slow.read) < len(same.body) // 2, "the slow reader was not slow"
    assert site.git.clone(site.weir.url(NAME)).rev("HEAD") == tip
    head, body = slow.hurry()
    assert b" 200 " in head.split(b"\r\n")[0] and body == same.body
    assert len(transfers(site)) == 1


# Upstream fails, or changes its mind

def test_a_cut_in_mid_pack_fails_all_with_a_message_and_the_next_try_succeeds(site):
    site.upstream.ordinary_repo(NAME).bulk(1024)
    site.proxy.slow(20 * 1024, match="command=fetch")
    clones = start_together(site, 8)
    assert len(transfers(site)) == 1
    site.proxy.refuse()
    for result in [c.wait() for c in clones]:
        assert not result.ok and "weir" in result.err and "git.test" in result.err, result
    wait_no_quarantine(site.weir)
    assert site.weir.log_has("relay_cut", repository="git.test/" + NAME)
    site.come_back()
    clone = site.git.clone(site.weir.url(NAME), "--mirror")
    assert_same_as_direct(clone, direct(site, "--mirror"))


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("pruned", [False, True], ids=["kept upstream", "pruned upstream"])
def test_a_force_push_between_listing_and_fetch(site, warm, pruned):
    """The client gets what it was shown, or git's own error; the cache gets what upstream has."""
    repo = site.upstream.ordinary_repo(NAME)
    if warm:
        site.warm(NAME)
        repo.commit("main", count=3)
    old, base = repo.rev(), repo.rev("refs/heads/main~5")
    site.proxy.hold(None, match="command=fetch")
    clone = site.git.start_clone(site.weir.url(NAME))
    site.proxy.wait_held()
    repo.commit("main", {"other": "history\n"}, parent=base, count=2)
    repo.delete("refs/pull/1/head")
    if pruned:
        repo.git("reflog", "expire", "--expire=now", "--all")
        repo.git("gc", "-q", "--prune=now")
    site.proxy.release()
    result = clone.wait()
    if result.ok:
        assert clone.clone.rev("HEAD") == old and clone.clone.run("fsck", "--full").ok
    else:
        assert "not our ref " + old in result.err, result
    site.git.clone(site.weir.url(NAME))
    site.weir.wait_filled(NAME)
    again = site.git.clone(site.weir.url(NAME), "--mirror")
    assert_same_as_direct(again, direct(site, "--mirror"))
    wait_no_quarantine(site.weir)
    assert_fsck(bare_repository(site.weir), site.env)


# Shallow and filtered

PARTIAL = {"shallow": "--depth=1", "filtered": "--filter=blob:none", "both": ["--depth=2", "--filter=tree:0"]}


def arguments(kind):
    value = PARTIAL[kind]
    return ["--bare", *(value if isinstance(value, list) else [value])]


def same_objects(one, other):
    listing = ["rev-list", "--objects", "--all", "--missing=print"]
    return sorted(one.run(*listing).out.split("\n")) == sorted(other.run(*listing).out.split("\n"))


def is_shallow(clone):
    return clone.run("rev-parse", "--is-shallow-repository").out.strip() == "true"


@pytest.mark.parametrize("kind", PARTIAL)
def test_a_partial_clone_passes_through_and_a_full_sync_follows(site, kind):
    repo = site.upstream.ordinary_repo(NAME)
    clone = site.git.clone(site.weir.url(NAME), *arguments(kind))
    straight = direct(site, *arguments(kind))
    assert clone.refs() == straight.refs() and same_objects(clone, straight)
    assert is_shallow(clone) == is_shallow(straight)
    site.weir.wait_filled(NAME)
    assert holds(site.weir, site.env, repo.rev("refs/heads/main~6")), "only what was asked for came"
    site.go_offline()
    again = site.git.clone(site.weir.url(NAME))
    assert again.rev("HEAD") == repo.rev() and again.run("fsck", "--full").ok
    assert not is_shallow(again)


def objects_in(clone):
    return int(clone.run("count-objects", "-v").out.split("in-pack: ")[1].split()[0])


def test_on_demand_fetches_what_is_asked_for_and_no_more(site):
    """Another weir that syncs in full shows when the sync that must not come here would have come."""
    repo = site.upstream.ordinary_repo(NAME)
    weir = site.start_weir(git={"sync": "on_demand"})
    beside_the_proxy = "http://127.0.0.1:%d" % site.upstream.port
    eager = site.start_weir(git={"upstreams": [{"match": "git.test", "url": beside_the_proxy}]})
    shallow = ["--bare", "--depth=1", "--no-tags", "--single-branch"]
    asked = objects_in(direct(site, *shallow))
    site.git.clone(weir.url(NAME), *shallow)
    site.git.clone(eager.url(NAME), *shallow)
    eager.wait_filled(NAME)
    assert len(transfers(site)) == 1 and site.proxy.objects_sent() == asked
    branch = ["--bare", "--no-tags", "--single-branch", "--branch=topic/one"]
    site.git.clone(weir.url(NAME), *branch)
    wait_until(lambda: holds(weir, site.env, repo.rev("refs/heads/topic/one")), what="the branch is here")
    asked += objects_in(direct(site, *branch))
    assert site.proxy.objects_sent() == asked
    assert not holds(weir, site.env, repo.rev("refs/heads/main"))
    before = len(transfers(site))
    assert site.git.clone(weir.url(NAME), *branch).rev("topic/one") == repo.rev("refs/heads/topic/one")
    assert len(transfers(site)) == before, "what is here was fetched again"


# Little by little

@pytest.mark.parametrize("protocol", [0, 2])
def test_a_few_commits_cost_a_few_commits(site, protocol):
    repo = site.upstream.ordinary_repo(NAME)
    repo.bulk(2048)
    site.warm(NAME)
    clone = site.git.clone(site.weir.url(NAME), protocol=protocol)
    had = repo.object_count()
    tip = repo.commit("main", {"new.txt": "a line\n"}, count=3)
    site.proxy.forget()
    before = site.proxy.bytes_out
    clone.fetch("-q")
    assert clone.rev("origin/main") == tip
    site.weir.wait_filled(NAME)
    assert site.proxy.objects_sent() <= repo.object_count() - had
    assert site.proxy.bytes_out - before < 64 * 1024, "more than the new commits was downloaded"
    assert clone.run("fsck", "--full").ok


def test_a_slow_clone_leaves_listings_of_others_at_their_speed(site):
    site.upstream.ordinary_repo("org/slow").bulk(4096)
    site.upstream.ordinary_repo("org/quick")
    site.start_weir(limits={"workers": 8})
    site.warm("org/quick")
    site.proxy.slow(32 * 1024, match="org/slow")
    slow = [site.git.start_clone(site.weir.url("org/slow"), *args)
            for args in [["--mirror"], ["--bare"], ["--depth=3"], ["--filter=blob:none"], ["--single-branch"]] * 3]
    wait_until(lambda: any(is_receiving(c) for c in slow), 60, "a slow clone is under way")
    seconds = []
    for _ in range(15):
        started = time.monotonic()
        answer = site.weir.ask_ls_refs("org/quick")
        seconds.append(time.monotonic() - started)
        assert answer.status == 200 and b"refs/heads/main" in answer.body
    assert all(c.running() for c in slow[:2]), "the slow clones were not slow"
    assert statistics.median(seconds) < 1, seconds
    for c in slow:
        c.kill()
        c.wait()
