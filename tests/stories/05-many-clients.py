"""Many ask for the same at once: the upstream is asked once."""

import threading

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until

CLIENTS = 50


def test_fifty_clients_on_a_cold_repository_cost_one_transfer(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.commit("main", count=100)
    repo.bulk(200)
    clones = [site.git.start_clone(site.weir.url("org/project"), "--mirror") for _ in range(CLIENTS)]
    results = [c.wait(80) for c in clones]
    failed = [r for r in results if not r.ok]
    assert not failed, failed[0]
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    refs = direct.refs()
    assert all(c.clone.refs() == refs for c in clones)
    for c in clones[::10]:
        assert_same_as_direct(c.clone, direct)
    assert site.proxy.objects_sent() <= repo.object_count(), "the upstream sent something twice"
    assert site.weir.metric("weir_collapsed_requests_total", service="git") > 0


def test_fifty_clients_on_a_warm_repository_cost_no_transfer(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    site.proxy.forget()
    clones = [site.git.start_clone(site.weir.url("org/project")) for _ in range(CLIENTS)]
    assert all(c.wait(80).ok for c in clones)
    assert site.proxy.objects_sent() == 0
    assert site.proxy.count("git-upload-pack", "POST", "fetch") == 0


def in_threads(count, work):
    """Run work() so many times at once; call the result to wait for the list of what came back."""
    results = [None] * count

    def one(i):
        results[i] = work()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()

    def collect():
        for t in threads:
            t.join(60)
        return results
    return collect


def test_identical_listings_share_one_exchange(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    before = weir.metric("weir_collapsed_requests_total", service="git")
    site.proxy.forget()
    site.proxy.hold(None, match="command=ls-refs")
    answers = in_threads(10, lambda: weir.ask_ls_refs("org/project"))
    site.proxy.wait_held()
    wait_until(lambda: weir.metric("weir_collapsed_requests_total", service="git") == before + 9,
               what="nine of ten join the first")
    site.proxy.release()
    bodies = {a.body for a in answers()}
    assert len(bodies) == 1
    assert site.proxy.count(command="ls-refs") == 1


def test_different_listings_do_not_share(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    heads = weir.ask_ls_refs("org/project", ["refs/heads/"])
    tags = weir.ask_ls_refs("org/project", ["refs/tags/"])
    assert b"refs/heads/main" in heads.body and b"refs/tags/" not in heads.body
    assert b"refs/tags/v1.0" in tags.body and b"refs/heads/" not in tags.body


def test_a_new_commit_is_fetched_once_for_all_who_wait(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    clones = [site.git.clone(site.weir.url("org/project")) for _ in range(10)]
    have = repo.object_count()
    tip = repo.commit("main", count=20)
    site.proxy.forget()
    fetches = [c.git.start(*c.options, "-C", c.path, "fetch", "-q") for c in clones]
    assert all(f.wait(60).ok for f in fetches)
    assert all(c.rev("origin/main") == tip for c in clones)
    assert site.proxy.objects_sent() <= repo.object_count() - have


def test_a_slow_transfer_of_one_repository_holds_up_no_other(site):
    site.upstream.ordinary_repo("org/slow")
    site.upstream.ordinary_repo("org/quick")
    site.start_weir(limits={"workers": 8})
    site.warm("org/quick")
    site.proxy.hold(0, match="org/slow")
    stuck = [site.git.start_clone(site.weir.url("org/slow")) for _ in range(24)]   # more than there are workers
    site.proxy.wait_held()
    wait_until(lambda: site.weir.metric("weir_http_connections") >= 24, what="the crowd has arrived")
    result = site.git.try_clone(site.weir.url("org/quick"))
    assert result.ok and result.seconds < 5, result
    assert site.weir.ask("GET", "/livez").status == 200
    for s in stuck:
        s.kill()
        s.wait()
    wait_until(lambda: site.proxy.held() == 0, what="nobody wants it any more, so it is given up")


def test_one_of_two_who_share_may_leave(site):
    site.upstream.ordinary_repo("org/project").bulk(200)
    site.proxy.hold(50000, match="command=fetch")
    leaving = site.git.start_clone(site.weir.url("org/project"))
    staying = site.git.start_clone(site.weir.url("org/project"))
    site.proxy.wait_held()
    wait_until(lambda: site.weir.metric("weir_http_connections") >= 2, what="both are there")
    leaving.kill()
    leaving.wait()
    site.proxy.release()
    assert staying.wait().ok
    assert staying.clone.run("fsck", "--full").ok
