"""A short list never looks like the whole: memory answers only what was asked of the upstream before."""

import pytest

from lab.gitkit import assert_same_as_direct


@pytest.fixture
def scene(site):
    site.repository = site.upstream.ordinary_repo("org/project")
    site.direct = site.git.ls_remote(site.upstream.url("org/project"), "--symref").lines
    return site


def url(site):
    return site.weir.url("org/project")


@pytest.mark.parametrize("sync", ["full", "on_demand"])
@pytest.mark.parametrize("ttl", ["0s", "5m"])
def test_after_one_ref_the_whole_listing_is_whole(scene, ttl, sync):
    scene.start_weir(git={"refs_ttl": ttl, "sync": sync})
    narrow = scene.git.ls_remote(url(scene), "refs/heads/main")
    assert narrow.refs == {"refs/heads/main": scene.repository.rev()}
    assert scene.git.ls_remote(url(scene), "--symref").lines == scene.direct
    assert scene.git.ls_remote(url(scene), "--symref", protocol=0).lines == scene.direct


def test_within_the_ttl_only_new_questions_reach_upstream(scene):
    weir = scene.start_weir(git={"refs_ttl": "5m", "sync": "on_demand"})
    weir.ask_ls_refs("org/project", ["refs/heads/main"])
    scene.proxy.forget()
    weir.ask_ls_refs("org/project", ["refs/heads/main"])
    assert scene.proxy.count(command="ls-refs") == 0
    whole = weir.ask_ls_refs("org/project")
    assert scene.proxy.count(command="ls-refs") == 1
    assert b"refs/tags/v1.0" in whole.body
    scene.proxy.forget()
    assert weir.ask_ls_refs("org/project").body == whole.body
    assert b"refs/heads/topic/one" in weir.ask_ls_refs("org/project", ["refs/heads/"]).body
    assert scene.proxy.count(command="ls-refs") == 0
    assert weir.metric("weir_git_requests_total", operation="ls-refs", cache="hit", status="ok") == 3


def test_offline_a_wider_question_is_refused_with_a_message(scene):
    scene.start_weir(git={"sync": "on_demand"})
    assert scene.git.ls_remote(url(scene), "refs/heads/main").refs
    scene.go_offline()
    for protocol in (0, 2):
        whole = scene.git.ls_remote(url(scene), protocol=protocol, check=False)
        assert not whole.ok and whole.out == "", whole
        assert "weir" in whole.err and "git.test" in whole.err
        result = scene.git.try_clone(url(scene), protocol=protocol)
        assert not result.ok
    other = scene.git.ls_remote(url(scene), "refs/heads/topic/one", check=False)
    assert not other.ok, "a branch that exists was said not to be there"


def test_offline_with_the_default_sync_it_is_whole_or_refused(scene):
    assert scene.git.ls_remote(url(scene), "refs/heads/main").refs
    scene.go_offline()
    whole = scene.git.ls_remote(url(scene), "--symref", check=False)
    assert (whole.ok and whole.lines == scene.direct) or (not whole.ok and whole.out == "" and "weir" in whole.err)


def test_a_narrow_answer_deletes_nothing_outside_it(scene):
    """A merge removes refs only under the prefixes that were asked."""
    scene.warm("org/project")
    scene.repository.delete("refs/heads/topic/one")
    assert scene.git.ls_remote(url(scene), "refs/tags/v1.0").ok
    assert scene.git.ls_remote(url(scene), "--symref").lines == scene.git.ls_remote(
        scene.upstream.url("org/project"), "--symref").lines
    scene.weir.wait_filled("org/project")
    scene.go_offline()
    refs = scene.git.ls_remote(url(scene)).refs
    assert "refs/heads/topic/one" not in refs and "refs/tags/v1.0" in refs and "refs/heads/main" in refs


def test_a_single_branch_clone_first_then_a_whole_one(scene):
    clone = scene.git.clone(url(scene), "--single-branch", "--branch=topic/one", "--no-tags")
    assert clone.rev("HEAD") == scene.repository.rev("refs/heads/topic/one")
    whole = scene.git.clone(url(scene), "--mirror")
    assert_same_as_direct(whole, scene.git.clone(scene.upstream.url("org/project"), "--mirror"))
