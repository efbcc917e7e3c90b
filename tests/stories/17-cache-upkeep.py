"""The cache looks after itself: within its budget, fresh when told, tidy, and honest in its figures."""

import glob
import os

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until
from lab.wire import POST_V2, Raw, fetch


# Budget

def test_the_least_recently_used_go_first(site):
    weir = site.start_weir(git={"disk": {"max": "4MiB", "low": "2500KiB"}})
    for i in range(6):
        site.upstream.ordinary_repo("org/%d" % i).bulk(900, seed=i)
        site.git.clone(weir.url("org/%d" % i), "--mirror")
    wait_until(lambda: weir.metric("weir_cache_evictions_total", service="git") >= 1, what="something is evicted")
    wait_until(lambda: weir.metric("weir_cache_bytes", service="git") <= 4 * 1024 * 1024, what="within the budget")
    assert weir.metric("weir_cache_max_bytes", service="git") == 4 * 1024 * 1024
    assert weir.repo("org/0") is None and weir.repo("org/5") is not None
    assert weir.log_has("repo_evicted", "org/0")
    wait_until(lambda: sum(os.path.getsize(p) for p in glob.glob(weir.data_dir + "/**/*.pack", recursive=True))
               <= 4 * 1024 * 1024, what="and on the disk too")
    again = site.git.clone(weir.url("org/0"), "--mirror")
    assert_same_as_direct(again, site.git.clone(site.upstream.url("org/0"), "--mirror"))


def test_a_repository_evicted_while_somebody_reads_it_is_read_to_the_end(site):
    tip = site.upstream.ordinary_repo("org/project").bulk(4096)
    weir = site.weir
    site.warm("org/project")
    body = fetch([tip])
    with Raw(weir.ports["git"]) as raw:
        raw.send("POST /git.test/org/project/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 "Content-Length: %d\r\n" % len(body) + "".join("%s: %s\r\n" % i for i in POST_V2.items()) + "\r\n")
        raw.send(body)
        raw.read_until(b"\r\n\r\n")
        assert weir.admin("POST", "/api/v1/repos/evict", {"repo": "git.test/org/project"}).status in (200, 202, 204, 409)
        answer = raw.read_to_end()
    assert len(answer) > 4096 * 1024 and answer.rstrip().endswith((b"0000", b"0"))
    assert site.git.try_clone(weir.url("org/project")).ok


# Freshness

def test_within_the_ttl_the_upstream_is_not_asked(site):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"refs_ttl": "5m"})
    site.warm("org/project")
    old = repo.rev()
    repo.commit("main")
    site.proxy.forget()
    for protocol in (0, 1, 2):
        assert site.git.ls_remote(weir.url("org/project"), protocol=protocol).refs["refs/heads/main"] == old
        assert site.git.clone(weir.url("org/project"), protocol=protocol).rev("HEAD") == old
    assert site.proxy.seen("/org/project") == []
    answer = weir.ask_ls_refs("org/project")
    assert "hit" in answer.headers["cache-status"] and "ttl=" in answer.headers["cache-status"]
    assert weir.metric("weir_offline_fallbacks_total", service="git") == 0

    weir.invalidate("org/project")
    assert site.git.ls_remote(weir.url("org/project")).refs["refs/heads/main"] == repo.rev()


def test_without_a_ttl_every_listing_is_upstreams(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    for _ in range(3):
        tip = repo.commit("main")
        for protocol in (0, 2):
            assert site.git.ls_remote(site.weir.url("org/project"), protocol=protocol).refs["refs/heads/main"] == tip
    assert "hit" not in site.weir.ask_ls_refs("org/project").headers["cache-status"].split(";")[1:2]


def test_a_second_clone_takes_no_objects_from_upstream(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    site.proxy.forget()
    for how in ([], ["--mirror"], ["--depth=1"], ["--filter=blob:none"], ["--single-branch"]):
        for protocol in (0, 2):
            site.git.clone(site.weir.url("org/project"), *how, protocol=protocol)
    assert site.proxy.objects_sent() == 0


def test_an_incremental_fetch_takes_only_what_is_new(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.commit("main", count=200)
    site.warm("org/project")
    clone = site.git.clone(site.weir.url("org/project"))
    have = repo.object_count()
    repo.commit("main", count=3)
    site.proxy.forget()
    clone.fetch("-q")
    assert clone.rev("origin/main") == repo.rev()
    site.weir.wait_filled("org/project")
    assert 0 < site.proxy.objects_sent() <= repo.object_count() - have


def test_refs_deleted_upstream_do_not_stay(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    repo.delete("refs/heads/topic/one")
    assert "refs/heads/topic/one" not in site.git.ls_remote(site.weir.url("org/project")).refs
    site.weir.wait_filled("org/project")
    site.go_offline()
    assert "refs/heads/topic/one" not in site.git.ls_remote(site.weir.url("org/project")).refs


def test_a_wanted_pull_request_is_there_offline_too(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    clone = site.git.clone(site.weir.url("org/project"))
    clone.fetch("-q", "origin", "refs/pull/1/head")
    site.weir.wait_filled("org/project")
    site.go_offline()
    other = site.git.clone(site.weir.url("org/project"))
    other.fetch("-q", "origin", "refs/pull/1/head")
    assert other.rev("FETCH_HEAD") == repo.rev("refs/pull/1/head")


def test_on_demand_fetches_only_what_was_asked_for(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.commit("big", {"big.bin": os.urandom(100000)}, parent=repo.rev())
    site.start_weir(git={"sync": "on_demand"})
    clone = site.git.clone(site.weir.url("org/project"), "--single-branch", "--no-tags")
    assert clone.rev("HEAD") == repo.rev()
    assert sum(r.answer_bytes for r in site.proxy.seen(command="fetch")) < 100000


def test_an_upstream_that_ignores_filters_is_no_harm(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.git("config", "uploadpack.allowFilter", "false")
    clone = site.git.clone(site.weir.url("org/project"), "--filter=blob:none")
    assert clone.run("fsck", "--full").ok and clone.rev("HEAD") == repo.rev()


def test_servable_at_tells_for_when_the_cache_is_whole(site):
    """When upstream was last asked and nothing is missing of what it said, that is the time the cache stands for."""
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.git.clone(weir.url("org/project"))

    def whole():
        item = weir.repo("org/project")
        return item["servable_at"] and item["servable_at"] >= item["seen_at"]
    wait_until(whole, 10, "all of sync_refs is here (refs/pull/ is not among them)")
    site.git.ls_remote(weir.url("org/project"))
    wait_until(whole, 10, "upstream was asked again and nothing has moved")


# Tidiness

@pytest.mark.limit(120)
def test_many_small_syncs_do_not_leave_many_packs(site):
    repo = site.upstream.ordinary_repo("org/project")
    clone = site.git.clone(site.weir.url("org/project"))
    for _ in range(60):
        repo.commit("main")
        clone.fetch("-q")
    site.weir.wait_filled("org/project")

    def packs():
        return len(glob.glob(site.weir.data_dir + "/**/*.pack", recursive=True))
    wait_until(lambda: packs() < 30, 30, "packs are gathered in the background")
    assert_same_as_direct(site.git.clone(site.weir.url("org/project"), "--mirror"),
                          site.git.clone(site.upstream.url("org/project"), "--mirror"))


def test_the_figures_agree_with_each_other(site):
    site.upstream.ordinary_repo("org/project").bulk(500)
    weir = site.weir
    site.warm("org/project")
    site.git.clone(weir.url("org/project"))
    item = weir.repo("org/project")
    on_disk = sum(os.path.getsize(p) for p in glob.glob(weir.data_dir + "/**/*.pack", recursive=True))
    assert on_disk <= item["bytes"] <= 2 * on_disk + 1024 * 1024
    health = weir.health()
    assert health["cached_repos"] == 1
    assert health["cache_stats"]["hits"] == weir.metric("weir_git_cache_hits_total")
    assert health["cache_stats"]["misses"] == weir.metric("weir_git_cache_misses_total")
    requests = weir.metric("weir_git_requests_total")
    assert requests == weir.metric("weir_git_request_duration_seconds_count")
    assert weir.metric("weir_git_cache_hits_total") + weir.metric("weir_git_cache_misses_total") <= requests
    for name in ("weir_process_resident_memory_bytes", "weir_process_open_fds", "weir_build_info",
                 "weir_upstream_request_duration_seconds_count"):
        assert weir.metric(name) > 0
    assert weir.metrics_text("git").splitlines()[0].startswith("# ")


def test_nothing_leaks_over_many_requests(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    for _ in range(20):
        weir.ask_ls_refs("org/project")
    fds = weir.metric("weir_process_open_fds")
    for i in range(200):
        weir.ask_ls_refs("org/project", ["refs/heads/"] if i % 2 else [])
        if i % 20 == 0:
            site.git.clone(weir.url("org/project"))
    wait_until(lambda: weir.metric("weir_process_open_fds") <= fds + 10, 10, "descriptors are given back")
