"""After an outage the first request is right: what was made, moved, deleted or renamed meanwhile."""

import shutil

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until


def change_everything(repo):
    """All that may happen to refs while nobody looks."""
    first = repo.rev("refs/tags/v1.0^{commit}")
    repo.commit("born-in-the-outage", parent=first)
    repo.commit("main", parent=first, message="by force", count=2)
    repo.delete("refs/heads/topic/one")
    repo.delete("refs/tags/light")
    repo.delete("refs/heads/foo")
    repo.commit("foo/bar", parent=first, message="a folder now")
    repo.delete("refs/heads/deep/er/branch")
    repo.commit("deep", parent=first, message="a file now")
    repo.tag("v1.0", to=repo.rev())     # moved by force
    repo.commit("trunk", parent=first)
    repo.set_head("refs/heads/trunk")


@pytest.fixture
def scene(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.commit("foo", parent=repo.rev())
    repo.commit("deep/er/branch", parent=repo.rev())
    site.repository = repo
    return site


def assert_right(site, old_clone, protocol):
    weir, direct_url = site.weir, site.upstream.url("org/project")
    theirs = site.git.ls_remote(direct_url, "--symref", protocol=protocol).lines
    ours = site.git.ls_remote(weir.url("org/project"), "--symref", protocol=protocol).lines
    assert ours == theirs and len(ours) > 5
    direct = site.git.clone(direct_url, "--mirror")
    assert_same_as_direct(site.git.clone(weir.url("org/project"), "--mirror", protocol=protocol), direct)
    old_clone.fetch("-q", "--prune")
    assert old_clone.refs() == direct.refs()
    assert old_clone.run("fsck", "--full").ok


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("ttl", ["0s", "5m"])
def test_refs_changed_in_an_outage_are_right_at_once(scene, protocol, ttl):
    weir = scene.start_weir(git={"refs_ttl": ttl})
    scene.warm("org/project")
    old_clone = scene.git.clone(weir.url("org/project"), "--mirror", protocol=protocol)
    scene.go_offline()
    scene.git.ls_remote(weir.url("org/project"), protocol=protocol)
    change_everything(scene.repository)
    if ttl != "0s":
        weir.invalidate("org/project")  # as a webhook would; within the TTL an old listing is what was asked for
    scene.come_back()
    assert weir.log_has("upstream_up", "git.test")
    assert_right(scene, old_clone, protocol)

    scene.weir.wait_filled("org/project")
    scene.go_offline()                  # and so it stays in the next outage
    clone = scene.git.clone(weir.url("org/project"), "--mirror", protocol=protocol)
    refs = dict(l.split()[:2] for l in clone.refs().splitlines())
    assert {k: v for k, v in refs.items() if not k.startswith("refs/pull/")} == {
        k: v for k, v in scene.repository.refs().items() if not k.startswith("refs/pull/")}


@pytest.mark.parametrize("outage", ["black hole", "503", "switched off"])
def test_the_same_after_other_outages(scene, outage):
    weir = scene.weir
    scene.warm("org/project")
    old_clone = scene.git.clone(weir.url("org/project"), "--mirror")
    if outage == "black hole":
        scene.proxy.black_hole()
    elif outage == "503":
        scene.proxy.answer(503)
    else:
        weir.switch_upstream(False)
    wait_until(lambda: scene.git.ls_remote(weir.url("org/project")).ok
               and weir.upstream()["state"] in ("down", "disabled"), what="the outage is noticed")
    change_everything(scene.repository)
    if outage == "switched off":
        weir.switch_upstream(True)
    scene.come_back()
    assert_right(scene, old_clone, 2)


def test_the_same_while_all_is_well(scene):
    scene.warm("org/project")
    old_clone = scene.git.clone(scene.weir.url("org/project"), "--mirror")
    change_everything(scene.repository)
    assert_right(scene, old_clone, 2)


def test_a_repository_that_was_emptied_and_filled_again(scene):
    scene.warm("org/project")
    for ref in list(scene.repository.refs()):
        scene.repository.delete(ref)
    assert scene.git.ls_remote(scene.weir.url("org/project")).lines == []
    scene.repository.commit("main", {"new": "world\n"}, "starting over")
    clone = scene.git.clone(scene.weir.url("org/project"))
    assert_same_as_direct(clone, scene.git.clone(scene.upstream.url("org/project")))


def test_a_repository_deleted_upstream_is_gone_and_one_made_anew_is_new(scene):
    scene.warm("org/project")
    shutil.rmtree(scene.repository.path)
    assert not scene.git.try_clone(scene.weir.url("org/project")).ok
    again = scene.upstream.repo("org/project")
    again.commit("main", {"other": "history\n"}, "made anew")
    clone = scene.git.clone(scene.weir.url("org/project"), "--mirror")
    assert_same_as_direct(clone, scene.git.clone(scene.upstream.url("org/project"), "--mirror"))


def test_a_force_push_between_listing_and_fetch(scene):
    """git has the listing, then the branch moves; the old commit is still asked for and has to come, or be refused."""
    weir = scene.weir
    scene.warm("org/project")
    listed = scene.repository.commit("main")
    assert weir.ask_ls_refs("org/project").status == 200
    moved = scene.repository.commit("main", parent=scene.repository.rev("refs/tags/v1.0^{commit}"), message="force")
    answer = weir.ask_fetch("org/project", [listed])
    assert b"PACK" in answer.body or b"ERR" in answer.body or answer.status >= 400
    assert scene.git.ls_remote(weir.url("org/project")).refs["refs/heads/main"] == moved
    assert scene.git.clone(weir.url("org/project")).rev("HEAD") == moved
