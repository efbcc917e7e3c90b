"""Through weir, git gets exactly what it would have got from the upstream itself.

Each story does a thing twice, once through weir and once directly, and compares.
"""

import pytest

from lab.gitkit import assert_same_as_direct, read_git_file
from lab.wait import wait_until

PROTOCOLS = [0, 1, 2]
ROUTES = ["path", "http.proxy"]
FORMATS = ["sha1", "sha256"]

everywhere = [pytest.mark.parametrize("protocol", PROTOCOLS), pytest.mark.parametrize("route", ROUTES),
              pytest.mark.parametrize("object_format", FORMATS)]


def in_every_way(test):
    for mark in everywhere:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def world(shared_site):
    """Two ordinary repositories that nobody changes."""
    for object_format in FORMATS:
        shared_site.upstream.ordinary_repo("org/" + object_format, object_format)
    assert shared_site.weir.alive()
    return shared_site


def address(site, name, route):
    """(url, options) to reach a repository through weir."""
    if route == "path":
        return site.weir.url(name), {}
    return "http://git.test/" + name, {"proxy": site.weir.proxy}


@in_every_way
@pytest.mark.parametrize("how", [[], ["--mirror"], ["--depth=1"], ["--filter=blob:none"],
                                 ["--single-branch", "--branch=topic/one"]],
                         ids=["whole", "mirror", "depth-1", "no-blobs", "single-branch"])
def test_a_clone_equals_a_direct_one(world, how, object_format, route, protocol):
    name = "org/" + object_format
    url, options = address(world, name, route)
    clone = world.git.clone(url, *how, protocol=protocol, **options)
    direct = world.git.clone(world.upstream.url(name), *how, protocol=protocol)
    assert_same_as_direct(clone, direct)
    assert clone.rev("HEAD") == direct.rev("HEAD")


@in_every_way
def test_ls_remote_says_the_same(world, object_format, route, protocol):
    name = "org/" + object_format
    url, options = address(world, name, route)
    for args in ([], ["--symref"], ["--heads"], ["refs/tags/v1.0*"], ["no-such-ref"]):
        ours = world.git.ls_remote(url, *args, protocol=protocol, **options)
        direct = world.git.ls_remote(world.upstream.url(name), *args, protocol=protocol)
        assert ours.lines == direct.lines, args
        assert bool(ours.lines) == (args != ["no-such-ref"]), args


@in_every_way
def test_a_fetch_brings_what_changed(shared_site, object_format, route, protocol):
    site = shared_site
    name = "fetch/%s-%s-%d" % (object_format, route, protocol)
    repo = site.upstream.ordinary_repo(name, object_format)
    url, options = address(site, name, route)
    clone = site.git.clone(url, "--mirror", protocol=protocol, **options)

    old = repo.rev()
    repo.commit("main", count=3)
    repo.commit("topic/one", parent=old, message="by force")
    repo.delete("refs/tags/light")
    repo.tag("v1.1")
    clone.fetch("-q", "--prune")

    assert_same_as_direct(clone, site.git.clone(site.upstream.url(name), "--mirror", protocol=protocol))
    assert repo.refs().items() <= dict(l.split()[:2] for l in clone.refs().splitlines()).items()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("route", ROUTES)
def test_submodules_come_along(shared_site, route, protocol):
    site = shared_site
    stem = "modules/%s-%d/" % (route, protocol)
    part = site.upstream.ordinary_repo(stem + "part")
    site.upstream.ordinary_repo(stem + "whole").submodule("part", "../part", part.rev())
    url, options = address(site, stem + "whole", route)
    clone = site.git.clone(url, "--recurse-submodules", protocol=protocol, **{**options, "config": ["x.y=z"]})
    assert clone.run("-C", "part", "rev-parse", "HEAD").out.strip() == part.rev()
    assert "/part" in clone.run("-C", "part", "remote", "get-url", "origin").out


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("how", ["--shallow-exclude=v1.0", "--shallow-since=1700000500"])
def test_a_shallow_clone_may_be_cut_by_a_ref_or_a_date(world, how, protocol):
    args = [how, "--single-branch", "--no-tags"]
    clone = world.git.clone(world.weir.url("org/sha1"), *args, protocol=protocol)
    direct = world.git.clone(world.upstream.url("org/sha1"), *args, protocol=protocol)
    assert_same_as_direct(clone, direct)
    assert read_git_file(clone, "shallow")


@pytest.mark.parametrize("protocol", [0, 2])
def test_shallow_clones_deepen_as_directly(world, protocol):
    results = []
    for url in (world.weir.url("org/sha1"), world.upstream.url("org/sha1")):
        clone = world.git.clone(url, "--depth=2", protocol=protocol)
        clone.fetch("-q", "--deepen=2")
        deepened = clone.run("rev-list", "--count", "HEAD").out
        clone.fetch("-q", "--unshallow")
        results.append((deepened, clone.run("rev-list", "--all").out, clone.refs(), clone.head()))
        assert clone.run("fsck", "--full").ok
    assert results[0] == results[1]


@pytest.mark.parametrize("filter_spec", ["blob:none", "blob:limit=4", "tree:0"])
def test_a_partial_clone_gets_missing_objects_later(world, filter_spec):
    clone = world.git.clone(world.weir.url("org/sha1"), "--filter=" + filter_spec, "--no-checkout")
    missing = clone.run("rev-list", "--objects", "--all", "--missing=print").out
    assert "?" in missing
    assert "int a;" in clone.run("show", "HEAD:src/a.c").out
    clone.run("checkout", "-q", "HEAD")
    assert clone.run("status", "--porcelain").out == ""


def test_a_commit_is_fetched_by_its_id(world):
    repo_tip = world.git.ls_remote(world.weir.url("org/sha1")).refs["refs/heads/topic/one"]
    clone = world.git.clone(world.weir.url("org/sha1"), "--single-branch")
    assert not clone.run("cat-file", "-e", repo_tip, check=False).ok
    clone.fetch("-q", "origin", repo_tip)
    assert clone.rev("FETCH_HEAD") == repo_tip


@pytest.mark.parametrize("protocol", [0, 2])
def test_refs_outside_sync_refs_come_when_somebody_wants_them(world, protocol):
    clone = world.git.clone(world.weir.url("org/sha1"), protocol=protocol)
    clone.fetch("-q", "origin", "refs/pull/1/head:pr", "refs/notes/*:refs/notes/*")
    listing = world.git.ls_remote(world.upstream.url("org/sha1")).refs
    assert clone.rev("pr") == listing["refs/pull/1/head"]
    assert clone.rev("refs/notes/commits") == listing["refs/notes/commits"]
    assert clone.run("fsck", "--full").ok


# Repositories of odd shapes

@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("object_format", FORMATS)
def test_an_empty_repository_clones_empty(shared_site, object_format, protocol):
    site = shared_site
    name = "empty/%s-%d" % (object_format, protocol)
    repo = site.upstream.repo(name, object_format, head="refs/heads/trunk")
    clone = site.git.clone(site.weir.url(name), protocol=protocol)
    direct = site.git.clone(site.upstream.url(name), protocol=protocol)
    assert clone.run("symbolic-ref", "HEAD").out == direct.run("symbolic-ref", "HEAD").out
    assert clone.refs() == "" and site.git.ls_remote(site.weir.url(name), protocol=protocol).lines == []

    repo.commit("trunk", count=2)       # and its first commit is seen
    clone = site.git.clone(site.weir.url(name), protocol=protocol)
    assert_same_as_direct(clone, site.git.clone(site.upstream.url(name), protocol=protocol))


@pytest.mark.parametrize("protocol", [0, 2])
def test_an_unborn_head_beside_real_branches(shared_site, protocol):
    site = shared_site
    name = "unborn-%d" % protocol
    site.upstream.ordinary_repo(name).set_head("refs/heads/nowhere")
    clone = site.git.clone(site.weir.url(name), protocol=protocol)
    direct = site.git.clone(site.upstream.url(name), protocol=protocol)
    assert clone.refs() == direct.refs()
    assert clone.run("symbolic-ref", "HEAD").out == direct.run("symbolic-ref", "HEAD").out


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_detached_head(shared_site, protocol):
    site = shared_site
    name = "detached-%d" % protocol
    site.upstream.ordinary_repo(name).detach_head("refs/tags/v1.0^{commit}")
    clone = site.git.clone(site.weir.url(name), protocol=protocol)
    assert_same_as_direct(clone, site.git.clone(site.upstream.url(name), protocol=protocol))


@pytest.mark.parametrize("protocol", [0, 2])
def test_the_default_branch_follows_upstream(shared_site, protocol):
    site = shared_site
    name = "renamed-%d" % protocol
    repo = site.upstream.ordinary_repo(name)
    site.git.clone(site.weir.url(name), protocol=protocol)
    repo.commit("trunk", parent=repo.rev(), count=2)
    repo.set_head("refs/heads/trunk")
    repo.delete("refs/heads/main")
    for how in ([], ["--depth=1"]):
        clone = site.git.clone(site.weir.url(name), *how, protocol=protocol)
        assert_same_as_direct(clone, site.git.clone(site.upstream.url(name), *how, protocol=protocol))
        assert clone.run("symbolic-ref", "--short", "HEAD").out.strip() == "trunk"


@pytest.mark.parametrize("protocol", [0, 2])
def test_ten_thousand_refs(shared_site, protocol):
    site = shared_site
    name = "many-%d" % protocol
    repo = site.upstream.ordinary_repo(name)
    repo.many_refs(10000)
    for args in ([], ["refs/heads/many/0000*"]):
        ours = site.git.ls_remote(site.weir.url(name), *args, protocol=protocol)
        assert ours.lines == site.git.ls_remote(site.upstream.url(name), *args, protocol=protocol).lines
    clone = site.git.clone(site.weir.url(name), "--mirror", protocol=protocol)
    assert dict(l.split()[:2] for l in clone.refs().splitlines()) == repo.refs()


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_request_above_post_buffer_comes_chunked_and_is_understood(shared_site, protocol):
    site = shared_site
    name = "wide-%d" % protocol
    repo = site.upstream.ordinary_repo(name)
    for i in range(30):                 # unlike commits, so that every want counts
        repo.commit("wide/%02d" % i, parent=repo.rev(), message="wide %d" % i)
    repo.many_refs(2500)
    clone = site.git.clone(site.weir.url(name), "--mirror", protocol=protocol, config=["http.postBuffer=65536"])
    assert dict(l.split()[:2] for l in clone.refs().splitlines()) == repo.refs()
    assert clone.run("fsck", "--full").ok


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_old_upstream_that_does_not_know_v2(site, protocol):
    repo = site.upstream.ordinary_repo("org/project")
    site.proxy.drop_header = "Git-Protocol"
    clone = site.git.clone(site.weir.url("org/project"), "--mirror", protocol=protocol)
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    repo.commit("main", count=2)
    clone.fetch("-q")
    assert clone.rev("main") == repo.rev()
    site.weir.wait_filled("org/project")
    site.go_offline()
    assert site.git.clone(site.weir.url("org/project"), protocol=protocol).rev("HEAD") == repo.rev()


# Names

def test_variants_of_a_name_share_one_repository(shared_site):
    site = shared_site
    site.upstream.ordinary_repo("names/a/b/c")
    before = len(site.weir.admin("GET", "/api/v1/repos").json["items"])
    for url, options in ((site.weir.url("names/a/b/c"), {}), (site.weir.url("names/a/b/c.git"), {}),
                         (site.weir.url("names/a/b/c/"), {}), (site.weir.url("names/a/b/c", host="GIT.test"), {}),
                         ("http://git.test/names/a/b/c.git", {"proxy": site.weir.proxy})):
        assert site.git.try_clone(url, **options).ok, url
    assert len(site.weir.admin("GET", "/api/v1/repos").json["items"]) == before + 1
    item = site.weir.repo("names/a/b/c")
    assert item["host"] == "git.test" and item["refs"] > 0


def test_a_host_with_a_port_is_reached_by_that_name(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"upstreams": [{"match": "git.test:8443", "url": site.proxy.url}]})
    assert site.git.try_clone(weir.url("org/project", host="git.test:8443")).ok
    assert site.git.try_clone("http://git.test:8443/org/project", proxy=weir.proxy).ok
    assert not site.git.try_clone(weir.url("org/project", host="git.test")).ok
    assert weir.repo("org/project", host="git.test:8443")


def test_an_upstream_url_may_have_a_path(site):
    site.upstream.ordinary_repo("group/org/project")
    weir = site.start_weir(git={"upstreams": [{"match": "git.test", "url": site.proxy.url + "/group"}]})
    clone = site.git.clone(weir.url("org/project"))
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("group/org/project")))


def test_every_answer_says_how_it_was_made(world):
    answer = world.weir.ask_ls_refs("org/sha1")
    assert answer.status == 200
    assert answer.headers["cache-status"].startswith("weir;")
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/x-git-upload-pack-result"
    wait_until(lambda: answer.headers["x-request-id"] in world.weir.whole_log(), what="the request id in the log")


def test_counters_follow_the_requests(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    for operation in ("ls-refs", "fetch", "advertise", "push"):     # all there from the start
        for cache in ("hit", "miss", "refreshed", "offline", "passthrough"):
            for status in ("ok", "error"):
                assert weir.metric("weir_git_requests_total", operation=operation, cache=cache, status=status) == 0
    for name in ("weir_git_cache_hits_total", "weir_git_cache_misses_total"):
        assert weir.metric(name) == 0
    for name in ("weir_offline_fallbacks_total", "weir_stale_serves_total", "weir_collapsed_requests_total"):
        assert weir.metric(name, service="git") == 0

    site.warm("org/project")
    assert weir.metric("weir_git_requests_total", operation="ls-refs", cache="miss", status="ok") == 1
    assert weir.metric("weir_git_requests_total", operation="fetch", cache="miss", status="ok") == 1
    assert weir.metric("weir_git_cache_misses_total") >= 1
    assert weir.metric("weir_upstream_requests_total", upstream="git.test", status="success") >= 1

    site.git.clone(weir.url("org/project"), "--mirror")
    assert weir.metric("weir_git_requests_total", operation="ls-refs", cache="refreshed", status="ok") == 1
    assert weir.metric("weir_git_requests_total", operation="fetch", cache="hit", status="ok") == 1
    assert weir.metric("weir_git_cache_hits_total") >= 1
    assert weir.metric("weir_git_request_duration_seconds_count", operation="fetch", cache="hit") == 1
    assert weir.metric("weir_cache_last_update_timestamp_seconds", service="git") > 1e9
    assert weir.metric("weir_cache_bytes", service="git") > 0
    assert weir.metric("weir_upstream_up", upstream="git.test") == 1
