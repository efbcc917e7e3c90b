"""Old answers are served in an outage, and said to be old."""

import datetime
import re

from lab.daemon import log_fields
from lab.wait import wait_until


def age_s(item):
    """Seconds since upstream was last heard of this repository."""
    seen = datetime.datetime.fromisoformat(item["seen_at"].replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.timezone.utc) - seen).total_seconds()


def test_a_stale_answer_is_logged_with_its_age_and_counted(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"stale_after": "2s"})
    site.warm("org/project")
    site.go_offline()
    wait_until(lambda: age_s(weir.repo("org/project")) > 3, what="the listing has grown old")
    before = weir.metric("weir_stale_serves_total", service="git")
    assert site.git.try_clone(weir.url("org/project")).ok
    assert weir.metric("weir_stale_serves_total", service="git") > before
    line = weir.log_lines("stale_serve", "org/project")[-1]
    age = next(v for k, v in log_fields(line).items() if k.startswith("age"))
    assert float(re.match(r"[\d.]+", age).group()) >= 2, line
    assert weir.health()["cache_stats"]["stale_serves"] >= 1
    answer = weir.ask_ls_refs("org/project")
    assert "detail=offline" in answer.headers["cache-status"]


def test_a_young_answer_is_not_stale(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"stale_after": "1h"})
    site.warm("org/project")
    site.go_offline()
    assert site.git.try_clone(weir.url("org/project")).ok
    assert weir.metric("weir_offline_fallbacks_total", service="git") >= 1
    assert weir.metric("weir_stale_serves_total", service="git") == 0
    assert not weir.log_has("stale_serve")


def test_the_age_counts_from_the_last_contact_also_over_a_restart(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"stale_after": "2s"})
    site.warm("org/project")
    seen_at = weir.repo("org/project")["seen_at"]
    site.proxy.refuse()
    weir.restart()
    assert weir.repo("org/project")["seen_at"] == seen_at
    wait_until(lambda: age_s(weir.repo("org/project")) > 3, what="the listing has grown old")
    assert site.git.try_clone(weir.url("org/project")).ok
    assert weir.metric("weir_stale_serves_total", service="git") >= 1
