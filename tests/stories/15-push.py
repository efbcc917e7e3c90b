"""Pushes go through as a stream, with the client's credential, and the cache is fresh at once."""

import os

import pytest

from lab.gitkit import assert_same_as_direct


@pytest.fixture
def scene(site):
    site.repository = site.upstream.ordinary_repo("org/project")
    return site


def change(clone, name="change", size=100):
    with open(os.path.join(clone.path, name), "wb") as f:
        f.write(os.urandom(size))
    clone.run("add", name)
    clone.run("commit", "-q", "-m", name)
    return clone.rev("HEAD")


@pytest.mark.parametrize("route", ["path", "http.proxy"])
@pytest.mark.parametrize("ttl", ["0s", "5m"])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_push_arrives_and_the_next_fetch_through_weir_sees_it(scene, protocol, ttl, route):
    weir = scene.start_weir(git={"refs_ttl": ttl})
    url, options = (weir.url("org/project"), {}) if route == "path" else (
        "http://git.test/org/project", {"proxy": weir.proxy})
    pusher = scene.git.clone(url, protocol=protocol, **options)
    reader = scene.git.clone(url, protocol=protocol, **options)
    tip = change(pusher)
    pusher.run("push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/new")
    assert scene.repository.rev() == tip
    reader.fetch("-q")
    assert reader.rev("origin/main") == tip and reader.rev("origin/new") == tip
    assert weir.metric("weir_git_requests_total", operation="push", cache="passthrough", status="ok") >= 1


@pytest.mark.parametrize("kib", [10, 1500, 6000])
def test_pushes_of_all_sizes_are_streamed(scene, kib):
    """Above http.postBuffer (1 MiB) git sends a probe, then a chunked body."""
    pusher = scene.git.clone(scene.weir.url("org/project"))
    tip = change(pusher, size=kib * 1024)
    pusher.run("push", "-q", "origin", "HEAD:main")
    assert scene.repository.rev() == tip
    assert_same_as_direct(scene.git.clone(scene.weir.url("org/project")),
                          scene.git.clone(scene.upstream.url("org/project")))


def test_force_and_delete(scene):
    scene.warm("org/project")
    pusher = scene.git.clone(scene.weir.url("org/project"))
    pusher.run("reset", "-q", "--hard", "v1.0")
    tip = change(pusher)
    assert not pusher.run("push", "-q", "origin", "HEAD:main", check=False).ok
    pusher.run("push", "-q", "--force", "origin", "HEAD:main", ":topic/one", ":refs/tags/light")
    refs = scene.git.ls_remote(scene.weir.url("org/project")).refs
    assert refs["refs/heads/main"] == tip
    assert "refs/heads/topic/one" not in refs and "refs/tags/light" not in refs
    scene.weir.wait_filled("org/project")
    scene.go_offline()
    offline = scene.git.ls_remote(scene.weir.url("org/project")).refs
    assert offline["refs/heads/main"] == tip and "refs/heads/topic/one" not in offline


def test_what_upstream_says_of_a_push_reaches_its_user(scene):
    hook = os.path.join(scene.repository.path, "hooks", "pre-receive")
    os.makedirs(os.path.dirname(hook), exist_ok=True)
    with open(hook, "w") as f:
        f.write("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    os.chmod(hook, 0o755)
    pusher = scene.git.clone(scene.weir.url("org/project"))
    change(pusher)
    result = pusher.run("push", "origin", "HEAD:main", check=False)
    assert not result.ok and "not on a Friday" in result.err and "pre-receive hook declined" in result.err


def test_a_push_needs_the_upstreams_permission(scene):
    scene.upstream.ordinary_repo("private/project")
    scene.upstream.passwords({"ann": "annspassword"})
    pusher = scene.git.clone(scene.weir.url("private/project", "ann", "annspassword"))
    change(pusher)
    assert not pusher.run("push", "-q", scene.weir.url("private/project", "ann", "wrong"), "HEAD:main", check=False).ok
    assert not pusher.run("push", "-q", scene.weir.url("private/project"), "HEAD:main", check=False).ok
    pusher.run("push", "-q", "origin", "HEAD:main")
    assert "annspassword" not in scene.weir.whole_log()


@pytest.mark.parametrize("protocol", [0, 2])
def test_an_empty_repository_takes_its_first_push(scene, protocol):
    repo = scene.upstream.repo("org/fresh")
    pusher = scene.git.clone(scene.weir.url("org/fresh"), protocol=protocol)
    tip = change(pusher)
    pusher.run("push", "-q", "origin", "HEAD:main")
    assert repo.rev() == tip
    assert scene.git.clone(scene.weir.url("org/fresh"), protocol=protocol).rev("HEAD") == tip


def test_offline_a_push_is_refused_with_a_message(scene):
    scene.warm("org/project")
    pusher = scene.git.clone(scene.weir.url("org/project"))
    change(pusher)
    before = scene.repository.rev()
    scene.go_offline()
    result = pusher.run("push", "-q", "origin", "HEAD:main", check=False)
    assert not result.ok
    assert "weir" in result.err and "git.test" in result.err and "push" in result.err, result.err
    assert scene.weir.metric("weir_git_requests_total", operation="push", status="error") >= 1
    scene.come_back()
    assert scene.repository.rev() == before
    pusher.run("push", "-q", "origin", "HEAD:main")
    assert scene.repository.rev() == pusher.rev("HEAD")


def test_a_push_whose_upstream_is_cut_off_is_not_reported_as_done(scene):
    pusher = scene.git.clone(scene.weir.url("org/project"))
    change(pusher)
    scene.proxy.cut(0, match="/git-receive-pack HTTP")
    result = pusher.run("push", "-q", "origin", "HEAD:main", check=False)
    assert not result.ok, result
    scene.proxy.pass_all()
    refs = scene.git.ls_remote(scene.weir.url("org/project")).refs
    assert refs["refs/heads/main"] == scene.repository.rev()
