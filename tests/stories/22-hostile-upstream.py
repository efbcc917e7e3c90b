"""The upstream lies: its packs are refused, counted and forgotten, and the cache stays right (invariant 11).

Each lie is told twice: to a clone that passes through, and to a `warm` that nobody reads along with. A client of a lying
upstream gets the lie, as it would without weir, and its git refuses it; but nobody after it does.
"""

import os

import pytest

from lab.gitkit import assert_same_as_direct
from lab.streaming import (Hostile, announce, assert_fsck, assert_nothing_taken_in, bare_repository, holds, kept_files,
                           object_count, pack_without)
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
    assert_fsck(bare_repository(site.weir), site.env)
    again = site.git.clone(site.weir.url(NAME), "--mirror")
    assert again.refs() == clone.refs() and again.run("fsck", "--full").ok


@pytest.mark.parametrize("lie", PACKS)
def test_a_clone_that_passed_through_leaves_nothing_of_a_pack_that(scene, lie):
    lie(scene)
    scene.git.try_clone(scene.weir.url(NAME), "--mirror")
    wait_until(lambda: refused(scene.weir) >= 1, what="the pack is refused")
    scene.weir.wait_log("pack_refused", repository="git.test/" + NAME)
    wait_until(lambda: not scene.weir.repo(NAME)["syncing"], what="the sync behind it has ended, too")
    assert_nothing_taken_in(scene.weir, scene.env)
    become_honest(scene)


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
