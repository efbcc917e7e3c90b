"""weir has nothing and the upstream gives nothing: git fails, and its user learns why and what to do.

The worst would be an empty clone that looks like a success.
"""

import os
import re

import pytest

TROUBLE = {
    "killed": lambda site: (site.proxy.refuse(), site.upstream.stop()),
    "unreachable": lambda site: site.proxy.unreachable(),
    "black-holed": lambda site: site.proxy.black_hole(),
    "silent after its headers": lambda site: site.proxy.hold(0),
    "cut in mid-body": lambda site: site.proxy.cut(10),
    "answering 500": lambda site: site.proxy.answer(500),
    "answering 503": lambda site: site.proxy.answer(503),
    "answering nonsense": lambda site: site.proxy.answer(200, body=b"<html>Please log in</html>"),
    "unknown repository": lambda site: None,
}
WHAT_TO_DO = re.compile(r"\b(try|retry|check|enable|start|wait|warm|clone|ask|add|verify|look|see)\b", re.I)


def impatient(site):
    return site.start_weir(git={"upstream_timeout": "3s"}, links={"connect_timeout": "1s", "stall_timeout": "2s"})


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_git_says_who_failed_and_what_to_do(site, trouble, protocol):
    if trouble != "unknown repository":
        site.upstream.ordinary_repo("org/project")
    weir = impatient(site)
    TROUBLE[trouble](site)
    result = site.git.try_clone(weir.url("org/project"), protocol=protocol, limit=20)
    assert result.code != 0
    assert not os.path.exists(result.path)
    assert "weir" in result.err and "git.test" in result.err, result.err
    assert WHAT_TO_DO.search(result.err.split("weir", 1)[1]), result.err

    listing = site.git.ls_remote(weir.url("org/project"), protocol=protocol, check=False)
    assert listing.code != 0 and listing.out == ""
    assert weir.metric("weir_git_requests_total", status="error") >= 1
    assert weir.metric("weir_offline_fallbacks_total", service="git") == 0
    assert weir.repo("org/project") is None or not weir.repo("org/project")["servable_at"]


def test_an_unknown_repository_is_a_404(site):
    for target in ("info/refs?service=git-upload-pack", "info/refs"):
        answer = site.weir.ask("GET", site.weir.repo_target("org/nothing", target))
        assert answer.status in (403, 404)
    answer = site.weir.ask("GET", site.weir.repo_target("org/nothing", "info/refs?service=git-upload-pack"))
    assert answer.status == 404 and answer.headers["content-type"].startswith("text/plain")


def test_unknown_repositories_leave_nothing_behind(site):
    for i in range(20):
        site.weir.ask("GET", site.weir.repo_target("org/nothing-%d" % i, "info/refs?service=git-upload-pack"))
    assert site.weir.admin("GET", "/api/v1/repos").json["items"] == []


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_fetch_into_an_existing_clone_fails_and_changes_nothing(site, protocol):
    site.upstream.ordinary_repo("org/project")
    clone = site.git.clone(site.weir.url("org/project"), "--mirror", protocol=protocol)
    before = clone.refs()
    site.weir.evict("org/project")
    site.go_offline()
    result = clone.fetch("--prune", check=False)
    assert result.code != 0 and "weir" in result.err
    assert clone.refs() == before


def test_a_host_name_that_does_not_exist(site):
    weir = site.start_weir(git={"upstreams": [{"match": "git.test", "url": "http://no-such-host.invalid"}]})
    result = site.git.try_clone(weir.url("org/project"), limit=20)
    assert result.code != 0 and "weir" in result.err and "git.test" in result.err


def test_it_works_as_soon_as_the_upstream_is_there(site):
    site.upstream.ordinary_repo("org/project")
    site.go_offline()
    assert not site.git.try_clone(site.weir.url("org/project")).ok
    site.come_back()
    assert site.git.try_clone(site.weir.url("org/project")).ok
