"""The upstream lies: its packs are refused, counted and forgotten, and the cache stays right (invariant 11).

Each lie is told twice: to a clone that passes through, and to a `warm` that nobody reads along with. A client of a lying
upstream gets the lie, as it would without weir, and its git refuses it; but nobody after it does.
"""

import os

import pytest

from lab.gitkit import assert_same_as_direct
from lab.streaming import (Hostile, announce, assert_fsck, assert_nothing_taken_in, bare_repository, holds, kept_files,
                           make_pack, object_count, pack_without, wait_no_quarantine)
from lab.wait import wait_until
from lab.wire import FLUSH, pkt

NAME = "org/project"


@pytest.fixture
def scene(site):
    """A lying upstream with a repository of about 400 KiB, and weir before it."""
    site.repository = site.upstream.ordinary_repo(NAME)
    site.repository.bulk(300)
    site.hostile = Hostile(site.upstream.root, site.env)
    site.start_weir(git={"upstreams": [{"match": "git.test", "url": site.hostile.url}]})
    yield site
    site.hostile.close()


def refused(weir):
    return weir.metric("weir_git_syncs_total", outcome="refused")


def missing_blob(site):
    return site.repository.rev("refs/heads/main:src/a.c")


def lacks_an_object(site):
    pack = pack_without(site.repository, missing_blob(site))
    site.hostile.lie = lambda _: pack


def lacks_a_commit(site):
    pack = pack_without(site.repository, site.repository.rev("refs/heads/main~3"))
    site.hostile.lie = lambda _: pack


def has_a_wrong_checksum(site):
    site.hostile.lie = lambda pack: pack[:-1] + bytes([pack[-1] ^ 1])


def has_a_flipped_bit(site):
    site.hostile.lie = lambda pack: pack[:len(pack) // 2] + bytes([pack[len(pack) // 2] ^ 4]) + pack[len(pack) // 2 + 1:]


def holds_more_than_it_announces(site):
    site.hostile.lie = lambda pack: announce(pack, object_count(pack) - 3)


def holds_less_than_it_announces(site):
    site.hostile.lie = lambda pack: announce(pack, object_count(pack) + 3)


def has_something_behind_it(site):
    site.hostile.lie = lambda pack: pack + b"behind the end" * 10


def has_much_behind_it(site):
    site.hostile.lie = lambda pack: pack + os.urandom(3 << 20)


def ends_too_early(site):
    site.hostile.lie = lambda pack: pack[:len(pack) // 2]


PACKS = [lacks_an_object, lacks_a_commit, has_a_wrong_checksum, has_a_flipped_bit, holds_more_than_it_announces,
         holds_less_than_it_announces, has_something_behind_it, has_much_behind_it, ends_too_early]


def become_honest(site):
    """From now on the upstream tells the truth, and the next clone is right."""
    site.hostile.be_honest()
    clone = site.git.clone(site.weir.url(NAME), "--mirror")
    assert_same_as_direct(clone, site.git.clone(site.upstream.url(NAME), "--mirror"))
    site.weir.wait_filled(NAME)
    wait_no_quarantine(site.weir)
    assert_fsck(bare_repository(site.weir), site.env)
    again = site.git.clone(site.weir.url(NAME), "--mirror")
    assert again.refs() == clone.refs() and again.run("fsck", "--full").ok


@pytest.mark.parametrize("lie", PACKS)
def test_a_clone_that_passed_through_leaves_nothing_of_a_pack_that(scene, lie):
    lie(scene)
    scene.git.try_clone(scene.weir.url(NAME), "--mirror")
    wait_until(lambda: refused(scene.weir) >= 1, what="the pack is refused")
    scene.weir.wait_log("pack_refused", repository="git.test/" + NAME)
    scene.weir.wait_log("sync_failed", repository="git.test/" + NAME)      # the sync behind it was told the same lie
    assert_nothing_taken_in(scene.weir, scene.env)
    become_honest(scene)


def test_a_lie_is_told_to_its_client_only(scene):
    """While the upstream lies, each client gets what upstream says to it; after that nobody gets the lie again."""
    lacks_an_object(scene)
    assert not scene.git.try_clone(scene.weir.url(NAME)).ok
    scene.weir.wait_log("pack_refused")
    scene.hostile.be_honest()
    results = [scene.git.start_clone(scene.weir.url(NAME)) for _ in range(5)]
    assert all(r.wait().ok for r in results)
    assert scene.weir.metric("weir_git_kept_answers_total", outcome="damaged") == 0


@pytest.mark.parametrize("lie", PACKS)
def test_a_warm_leaves_nothing_of_a_pack_that(scene, lie):
    lie(scene)
    code, out, err = scene.weir.command("repo", "warm", "git.test/" + NAME)
    assert code != 0, (out, err)
    assert refused(scene.weir) >= 1
    assert scene.weir.log_has("pack_refused", repository="git.test/" + NAME)
    assert scene.weir.repo(NAME)["servable_at"] in (None, 0, "")
    assert_nothing_taken_in(scene.weir, scene.env)
    become_honest(scene)


def plant_a_tree(repo, entry):
    """A commit on main whose tree has an entry that no tree may have. Returns the tree's id."""
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"[core]\n")
    inner = repo.git("mktree", stdin=b"100644 blob %s\tconfig\n" % blob.encode())
    raw = b"40000 " + entry + b"\0" + bytes.fromhex(inner)
    tree = repo.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    repo.ref("refs/heads/main", repo.git("commit-tree", "-p", "refs/heads/main", "-m", "a gift", tree))
    return tree


ENTRIES = {"dot git": b".git", "dot git in another case": b".GIT", "a way out": b"..", "a slash": b"a/../../b"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_tree_that_would_write_where_it_may_not_is_refused(scene, entry):
    good = scene.repository.rev()
    tree = plant_a_tree(scene.repository, ENTRIES[entry])
    scene.git.try_clone(scene.weir.url(NAME), "--mirror")
    wait_until(lambda: refused(scene.weir) >= 1, what="the pack is refused")
    scene.weir.wait_log("sync_failed")
    assert_nothing_taken_in(scene.weir, scene.env)
    before = refused(scene.weir)
    assert scene.weir.command("repo", "warm", "git.test/" + NAME)[0] != 0
    assert refused(scene.weir) > before
    assert_nothing_taken_in(scene.weir, scene.env)
    scene.repository.ref("refs/heads/main", good)
    become_honest(scene)
    assert not holds(scene.weir, scene.env, tree)


def test_a_warm_repository_stays_right_when_its_upstream_begins_to_lie(scene):
    scene.git.clone(scene.weir.url(NAME), "--mirror")
    scene.weir.wait_filled(NAME)
    clone = scene.git.clone(scene.weir.url(NAME))
    good = scene.repository.rev()
    tip = scene.repository.commit("main", {"new.txt": "new\n"}, count=3)
    has_a_wrong_checksum(scene)
    assert clone.fetch("-q", check=False).code != 0
    wait_until(lambda: refused(scene.weir) >= 1 or scene.weir.log_has("sync_failed"), what="the pack is refused")
    scene.weir.wait_log("sync_failed")
    assert refused(scene.weir) >= 1
    assert not holds(scene.weir, scene.env, tip)
    assert_fsck(bare_repository(scene.weir), scene.env)
    assert clone.rev("origin/main") == good
    scene.hostile.be_honest()
    clone.fetch("-q")
    assert clone.rev("origin/main") == tip and clone.run("fsck", "--full").ok


# Lies of the answer around the pack

def test_a_whole_pack_with_packets_behind_its_end_is_not_kept(scene):
    scene.hostile.behind = pkt("and another thing\n") + FLUSH
    scene.git.try_clone(scene.weir.url(NAME))
    wait_until(lambda: scene.weir.log_has("sync_done") or scene.weir.log_has("sync_failed"), what="the pack was judged")
    scene.hostile.be_honest()
    clone = scene.git.clone(scene.weir.url(NAME))
    assert clone.rev("HEAD") == scene.repository.rev()
    for path in kept_files(scene.weir):
        with open(path, "rb") as f:
            assert b"and another thing" not in f.read(), "the rubbish was kept"


@pytest.mark.parametrize("cut", [1, 4, 100, 100000], ids=lambda n: "%d bytes early" % n)
def test_an_answer_that_http_ends_well_and_git_does_not(scene, cut):
    scene.hostile.cut = cut
    result = scene.git.try_clone(scene.weir.url(NAME), "--mirror")
    assert not result.ok and "weir" in result.err, result
    scene.weir.wait_log("relay_cut")
    assert_nothing_taken_in(scene.weir, scene.env)
    assert scene.weir.command("repo", "warm", "git.test/" + NAME)[0] != 0
    assert_nothing_taken_in(scene.weir, scene.env)
    become_honest(scene)


# Answers that are kept but not taken in

SHALLOW = {"lacks an object": lambda site: shallow_without(site, site.repository.rev("refs/heads/main:bulk-1.bin")),
           "has a wrong checksum": has_a_wrong_checksum, "has a flipped bit": has_a_flipped_bit,
           "has something behind it": has_something_behind_it, "ends too early": ends_too_early,
           "holds more than it announces": holds_more_than_it_announces}


def shallow_without(site, missing):
    tip = site.repository.rev()
    oids = [tip] + [line.split(" ")[0] for line in site.repository.git("rev-list", "--objects", "--no-walk", tip).splitlines()]
    assert missing in oids
    pack = make_pack(site.repository, set(oids) - {missing})
    site.hostile.lie = lambda _: pack


@pytest.mark.parametrize("lie", SHALLOW)
def test_a_shallow_clone_gets_no_lie_that_was_told_before(scene, lie):
    SHALLOW[lie](scene)
    scene.git.try_clone(scene.weir.url(NAME), "--depth=1")
    wait_until(lambda: kept_files(scene.weir) or scene.weir.log_has("pack_refused"), what="it was judged")
    scene.hostile.be_honest()
    result = scene.git.try_clone(scene.weir.url(NAME), "--depth=1")
    assert result.ok, result
    assert result.clone.run("fsck", "--full").ok and result.clone.rev("HEAD") == scene.repository.rev()


def test_a_shallow_clone_gets_no_tree_that_was_refused(scene):
    """What would be refused in a plain pack is not kept from a shallow one either."""
    plant_a_tree(scene.repository, b".git")
    scene.git.try_clone(scene.weir.url(NAME), "--depth=1")
    scene.weir.wait_log("sync_failed")
    assert kept_files(scene.weir) == []
