"""How long what is stored stays fresh, how old it is, and what becomes of it when it is stale (RFC 9111 4.2, 5.1;
RFC 5861).

Time does not pass here: what should be old comes with an Age or a Date.
"""

import re

import pytest

from lab.cachekit import Cache, reply, version, when
from lab.wait import wait_until

HOUR, DAY = 3600, 86400


def filled(lines):
    """{-60} is a date a minute ago."""
    return [re.sub(r"\{([+-]\d+)\}", lambda m: when(int(m[1])), line) for line in lines]


@pytest.mark.parametrize("section, lines, date, fresh", [
    ("4.2.1-max-age-outranks-expires", ["Cache-Control: max-age=3600", "Expires: {-60}"], 0, True),
    ("4.2.1-max-age-outranks-expires-2", ["Cache-Control: max-age=0", "Expires: {+3600}"], 0, False),
    ("4.2.1-s-maxage-outranks-max-age", ["Cache-Control: max-age=0, s-maxage=3600"], 0, True),
    ("4.2.1-s-maxage-outranks-max-age-2", ["Cache-Control: s-maxage=0, max-age=3600"], 0, False),
    ("4.2.1-of-two-the-stricter", ["Cache-Control: max-age=3600, max-age=0"], 0, False),
    ("4.2.1-of-two-lines-the-stricter", ["Cache-Control: max-age=0", "Cache-Control: max-age=3600"], 0, False),
    ("4.2.1-invalid-max-age", ["Cache-Control: max-age=soon", "Expires: {+3600}"], 0, False),
    ("4.2.1-negative-max-age", ["Cache-Control: max-age=-1"], 0, False),
    ("4.2.1-max-age-that-is-no-integer", ["Cache-Control: max-age=3600.5"], 0, False),
    ("1.2.2-huge-max-age", ["Cache-Control: max-age=99999999999999999999999"], 0, True),
    ("1.2.2-max-age-of-2-to-the-31", ["Cache-Control: max-age=2147483648"], 0, True),
    ("5.3-expires-in-the-past", ["Expires: {-60}"], 0, False),
    ("5.3-expires-0", ["Expires: 0"], 0, False),
    ("5.3-expires-now", ["Expires: {+0}"], 0, False),
    ("5.3-expires-that-nobody-reads", ["Expires: tomorrow"], 0, False),
    ("5.3-expires-without-a-zone", ["Expires: Sun, 06 Nov 2094 08:49:37"], 0, False),
    ("5.3-expires-in-another-zone", ["Expires: Sat, 06 Nov 2094 08:49:37 CET"], 0, False),
    ("5.3-two-expires", ["Expires: {+3600}", "Expires: {-60}"], 0, False),
    ("5.3-invalid-expires-is-no-leave-for-heuristics", ["Expires: 0", "Last-Modified: {-864000}"], 0, False),
    ("5.3-expires-as-asctime-wrote-it", ["Expires: Sat Nov  6 08:49:37 2094"], 0, True),
    ("5.3-expires-far-away", ["Expires: Fri, 31 Dec 9999 23:59:59 GMT"], 0, True),
    ("4.2.1-expires-counts-from-date", ["Expires: {-3540}"], -HOUR, False),
    ("4.2.1-expires-counts-from-date-2", ["Expires: {+60}"], -HOUR, True),
    ("4.2.3-age-upstream", ["Cache-Control: max-age=3600", "Age: 100"], 0, True),
    ("4.2.3-age-upstream-above-max-age", ["Cache-Control: max-age=3600", "Age: 4000"], 0, False),
    ("4.2.3-age-upstream-and-expires", ["Expires: {+3600}", "Age: 4000"], 0, False),
    ("4.2.3-date-says-that-it-is-old", ["Cache-Control: max-age=3600"], -2 * HOUR, False),
    ("4.2.3-date-says-that-it-is-half-as-old", ["Cache-Control: max-age=3600"], -HOUR / 2, True),
    ("4.2.3-age-of-a-field-and-a-date-do-not-add-up", ["Cache-Control: max-age=3600", "Age: 2000"], -2000, True),
    ("4.2.3-date-in-the-future", ["Cache-Control: max-age=3600"], 2 * HOUR, True),
    ("4.2.3-no-date", ["Cache-Control: max-age=3600"], None, True),
    ("5.1-age-that-nobody-reads", ["Cache-Control: max-age=3600", "Age: old"], 0, True),
    ("5.1-huge-age", ["Cache-Control: max-age=3600", "Age: 99999999999999999999"], 0, False),
    ("4.2.2-a-tenth-of-ten-days", ["Last-Modified: {-864000}", "Age: 80000"], 0, True),
    ("4.2.2-more-than-a-tenth-of-ten-days", ["Last-Modified: {-864000}", "Age: 90000"], 0, False),
    ("4.2.2-modified-just-now", ["Last-Modified: {+0}"], 0, False),
    ("4.2.2-modified-in-the-future", ["Last-Modified: {+864000}"], 0, False),
    ("4.2.2-no-heuristics-with-an-explicit-time", ["Last-Modified: {-864000}", "Cache-Control: max-age=0"], 0, False),
    ("8246-immutable-is-no-lifetime", ["Cache-Control: immutable"], 0, False),
])
def test_4_2_is_it_fresh(cache, path, section, lines, date, fresh):
    cache.origin.tell(path, reply("content", *filled(lines), date=date))
    cache.get(path)
    again = cache.get(path)
    assert again.text == "content" and again.hit is fresh
    assert cache.asked(path) == (1 if fresh else 2)


# Age and ttl

@pytest.mark.parametrize("lines, date, least", [
    (["Age: 0"], 0, 0), (["Age: 100"], 0, 100), ([], -500, 500), (["Age: 100"], -500, 500), (["Age: 500"], -100, 500),
    (["Age: 700"], 5000, 700), ([], 5000, 0)])
def test_4_2_3_the_age_of_a_hit(cache, path, lines, date, least):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=3600", *lines, date=date))
    cache.get(path)
    got = cache.get(path)
    assert got.hit
    age, ttl = int(got.headers["age"]), got.cache["ttl"]
    assert least <= age <= least + 60
    assert abs(3600 - age - ttl) <= 1


def test_5_1_an_answer_straight_from_the_origin_keeps_the_age_that_it_came_with(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=3600", "Age: 100"))
    assert 100 <= int(cache.get(path).headers["age"]) <= 160


def test_4_2_3_what_is_stored_ages(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=3600"))
    cache.get(path)
    wait_until(lambda: int(cache.get(path).headers["age"]) >= 1)
    assert cache.asked(path) == 1


def test_4_2_what_is_stored_becomes_stale(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=1"))
    wait_until(lambda: cache.get(path) and cache.asked(path) == 2)


@pytest.mark.parametrize("lines, date, ttl", [
    (["Cache-Control: max-age=1000, s-maxage=500"], 0, 500), (["Expires: {+900}"], 0, 900),
    (["Expires: {+900}"], -100, 900), (["Last-Modified: {-100000}"], 0, 10000)])
def test_9211_ttl_tells_how_long_it_stays_fresh(cache, path, lines, date, ttl):
    cache.origin.tell(path, reply("content", *filled(lines), date=date))
    cache.get(path)
    assert ttl - 60 <= cache.get(path).cache["ttl"] <= ttl + 1


# Stale, and upstream is not reached (4.2.4)

OLD = "Age: 100"


@pytest.mark.parametrize("section, lines, served", [
    ("max-age", ["Cache-Control: max-age=60", OLD], True),
    ("expires", ["Expires: {-60}"], True),
    ("heuristic", ["Last-Modified: {-864000}", "Age: 90000"], True),
    ("a-validator-and-nothing-else", ['ETag: "v1"'], True),
    ("5.2.2.2-must-revalidate", ["Cache-Control: max-age=60, must-revalidate", OLD], False),
    ("5.2.2.8-proxy-revalidate", ["Cache-Control: max-age=60, proxy-revalidate", OLD], False),
    ("5.2.2.10-s-maxage", ["Cache-Control: s-maxage=60", OLD], False),
    ("5.2.2.4-no-cache", ["Cache-Control: no-cache, max-age=60", 'ETag: "v1"'], False),
    ("5.2.2.4-no-cache-beside-a-lifetime", ["Cache-Control: max-age=600, no-cache", 'ETag: "v1"'], False),
    ("9213-must-revalidate", ["CDN-Cache-Control: max-age=60, must-revalidate", OLD], False),
    ("9213-cache-control-does-not-count-beside-it",
     ["CDN-Cache-Control: max-age=60", "Cache-Control: must-revalidate", OLD], True),
    ("fresh-and-must-revalidate", ["Cache-Control: max-age=600, must-revalidate"], True),
    ("fresh-and-s-maxage", ["Cache-Control: s-maxage=600"], True),
    ("5.2.2.7-private", ["Cache-Control: private, max-age=60"], False),
    ("5.2.2.5-no-store", ["Cache-Control: no-store, max-age=60"], False),
])
def test_4_2_4_offline(cache, path, section, lines, served):
    cache.origin.tell(path, reply("content", *filled(lines)))
    cache.get(path)
    with cache.offline():
        got = cache.get(path)
        if served:
            assert (got.status, got.text) == (200, "content")
        else:
            assert got.status == 504 and "application/problem+json" in got.headers["content-type"]
            assert "content" != got.text
    assert cache.asked(path) == 1


def test_4_2_4_a_stale_answer_says_what_it_is(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60", OLD, 'ETag: "v1"'))
    cache.get(path)
    before = cache.weir.metric("weir_stale_serves_total", service="files")
    with cache.offline():
        got = cache.get(path)
    assert got.hit and got.cache["detail"] == "offline" and got.cache["ttl"] <= -40
    assert int(got.headers["age"]) >= 100 and got.headers["etag"] == '"v1"'
    assert cache.weir.metric("weir_stale_serves_total", service="files") > before
    cache.weir.wait_log("stale_serve", service="files", age_s=...)


@pytest.fixture(scope="module")
def several(shared_site):
    """The same origin behind other mirrors: `files` serves stale answers for ever, `hour` for an hour, `never` never,
    `against` for ever and against what some directives say."""
    return Cache(shared_site, serve_stale="forever", mirrors=[
        {"name": "hour", "serve_stale": "1h"}, {"name": "never", "serve_stale": "never"},
        {"name": "against", "serve_stale_against": ["must-revalidate", "no-cache"]}])


@pytest.mark.parametrize("name, age, served", [
    ("files", 100, True), ("files", 100000000, True), ("hour", 100, True), ("hour", 10000, False), ("never", 61, False),
    ("never", 0, True)])
def test_serve_stale_is_a_time_or_for_ever_or_never(several, name, age, served):
    cache, path = several.on(name), "/stale-%s-%d" % (name, age)
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60", "Age: %d" % age))
    cache.get(path)
    with cache.offline():
        assert cache.get(path).status == (200 if served else 504)


@pytest.mark.parametrize("directive, served", [
    ("must-revalidate", True), ("no-cache", True), ("no-cache, must-revalidate", True), ("proxy-revalidate", False),
    ("must-revalidate, s-maxage=60", False)])
def test_4_2_4_an_operator_may_name_what_does_not_count_offline(several, directive, served):
    cache, path = several.on("against"), "/against-" + directive.replace(", ", "-")
    cache.origin.tell(path, version("content", '"v1"', "Cache-Control: max-age=60, " + directive, OLD))
    cache.get(path)
    assert cache.get(path).cache["fwd-status"] == 304     # online nothing has changed
    with cache.offline():
        assert cache.get(path).status == (200 if served else 504)


# An upstream that answers with errors

@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_4_3_3_an_error_instead_of_a_validation_is_no_answer(cache, path, status):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60", OLD, 'ETag: "v1"'),
                      reply("down", status=status))
    cache.get(path)
    got = cache.get(path)
    assert (got.status, got.text) == (200, "content")
    assert cache.origin.seen(path)[-1].headers["if-none-match"] == '"v1"'
    cache.origin.tell(path, reply("new", "Cache-Control: max-age=60"))
    cache.settle()
    assert cache.get(path).text == "new"


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"])
def test_4_3_3_an_error_where_stale_is_forbidden(cache, path, directive):
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60, " + directive, OLD), reply("down", status=503))
    cache.get(path)
    got = cache.get(path)
    assert got.status in (503, 504) and got.text != "content"


@pytest.mark.parametrize("status", [401, 403, 404, 410, 400, 301])
def test_other_errors_are_answers_and_end_what_was_stored(cache, path, status):
    """Invariant 4."""
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60", OLD),
                      reply("no", "Location: /x", status=status))
    cache.get(path)
    assert cache.get(path).status == status
    with cache.offline():
        assert cache.get(path).text != "content"


# RFC 5861

def test_5861_3_stale_while_revalidate_answers_at_once_and_asks_behind(cache, path):
    cache.origin.tell(path, version("old", '"v1"', "Cache-Control: max-age=60, stale-while-revalidate=600", OLD),
                      version("new", '"v2"', "Cache-Control: max-age=600"))
    cache.get(path)
    with cache.origin.hold(path) as gate:
        for _ in range(3):
            got = cache.get(path)
            assert got.hit and got.text == "old" and got.cache["ttl"] < 0
        gate.wait_arrived()
    wait_until(lambda: cache.get(path).text == "new")
    assert cache.asked(path) == 2
    assert cache.origin.seen(path)[-1].headers["if-none-match"] == '"v1"'


def test_5861_3_stale_while_revalidate_has_an_end(cache, path):
    cache.origin.tell(path, reply("old", "Cache-Control: max-age=60, stale-while-revalidate=30", OLD), reply("new"))
    cache.get(path)
    assert cache.get(path).text == "new"


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "no-cache"])
def test_5861_3_stale_while_revalidate_does_not_outrank(cache, path, directive):
    cache.origin.tell(path, reply("old", "Cache-Control: max-age=60, stale-while-revalidate=600, " + directive, OLD),
                      reply("new"))
    cache.get(path)
    assert cache.get(path).text == "new"


@pytest.mark.parametrize("name, line, age, served", [
    ("hour", "Cache-Control: max-age=60, stale-if-error=100000", 10000, True),
    ("hour", "Cache-Control: max-age=60, stale-if-error=10", 100, True),
    ("hour", "Cache-Control: max-age=60", 10000, False),
    ("never", "Cache-Control: max-age=60, stale-if-error=100000", 100, False),
    ("hour", "Cache-Control: max-age=60, must-revalidate, stale-if-error=100000", 100, False),
])
def test_5861_4_stale_if_error_lengthens_the_time(several, name, line, age, served):
    cache, path = several.on(name), "/error-%s-%d-%d" % (name, age, len(line))
    cache.settle()
    cache.origin.tell(path, reply("content", line, "Age: %d" % age), reply("down", status=500))
    cache.get(path)
    got = cache.get(path)
    assert (got.text == "content") is served and (served or got.status >= 500)


def test_5861_4_a_client_may_ask_for_stale_if_error(several):
    cache, path = several.on("hour"), "/client-stale-if-error"
    cache.settle()
    cache.origin.tell(path, reply("content", "Cache-Control: max-age=60", "Age: 10000"), reply("down", status=500))
    cache.get(path)
    assert cache.get(path, cache_control="stale-if-error=100000").text == "content"
