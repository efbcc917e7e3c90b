"""Which stored answer fits a request, when it is validated, and what a request may ask of the cache (RFC 9111 4.1, 4.3,
5.2.1)."""

import pytest

from lab.cachekit import reply, version, when

MINUTE = "Cache-Control: max-age=60"
OLD = "Age: 100"


# Vary (4.1)

def by_language(*lines):
    """An origin that answers in the language that it was asked for."""
    return lambda r: reply("in " + r.headers.get("accept-language", "none"), MINUTE, *lines)


def test_4_1_each_variant_is_stored(cache, path):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    for _ in range(3):
        for language in ("en", "de", "fr"):
            assert cache.get(path, accept_language=language).text == "in " + language
    assert cache.asked(path) == 3


def test_4_1_a_field_that_is_missing_fits_only_where_it_was_missing(cache, path):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    assert cache.get(path).text == "in none"
    assert cache.get(path, accept_language="en").text == "in en"
    assert cache.get(path, accept_language="").text == "in "
    for language, text in ((None, "in none"), ("en", "in en")):
        got = cache.get(path, **({"accept_language": language} if language else {}))
        assert got.hit and got.text == text


@pytest.mark.parametrize("first, second", [("en,de", "en, de"), ("en , de", "en,de"), ("en;q=1,de", " en;q=1,  de")])
def test_4_1_spaces_around_commas_do_not_matter(cache, path, first, second):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    cache.get(path, accept_language=first)
    assert cache.get(path, accept_language=second).hit


@pytest.mark.parametrize("vary", [["Vary: X-One, X-Two"], ["Vary: X-One", "Vary: x-two"], ["vary: ,X-ONE , x-two,"]])
def test_4_1_all_of_the_fields_have_to_fit(cache, path, vary):
    cache.origin.tell(path, lambda r: reply(r.headers["x-one"] + r.headers["x-two"], MINUTE, *vary))
    for _ in range(2):
        for one in "ab":
            for two in "ab":
                assert cache.get(path, x_one=one, x_two=two).text == one + two
    assert cache.asked(path) == 4


def test_4_1_what_vary_does_not_name_does_not_matter(cache, path):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    cache.get(path, accept_language="en", user_agent="one", cookie="a=b")
    assert cache.get(path, accept_language="en", user_agent="two").hit


def test_4_1_validating_one_variant_leaves_the_other(cache, path):
    def answer(r):
        language = r.headers["accept-language"]
        return version("in " + language, '"%s"' % language, "Vary: Accept-Language", MINUTE, OLD)(r)
    cache.origin.tell(path, answer)
    for _ in range(2):
        for language in ("en", "de"):
            assert cache.get(path, accept_language=language).text == "in " + language
    tags = [r.headers.get("if-none-match") for r in cache.origin.seen(path)]
    assert tags[:2] == [None, None] and '"en"' in tags[2] and '"de"' in tags[3]


def test_4_1_a_304_that_names_the_other_variant_selects_that(cache, path):
    """RFC 9111 4.3.3: which of the stored ones is meant is said by the tag in the 304."""
    cache.origin.tell(path, reply("one", 'ETag: "1"', "Vary: X-Which", MINUTE, OLD),
                      reply("two", 'ETag: "2"', "Vary: X-Which", MINUTE, OLD))
    cache.get(path, x_which="1")
    cache.get(path, x_which="2")
    lines = ['ETag: "1"', "Vary: X-Which", MINUTE]
    cache.origin.tell(path, lambda r: reply(b"", *lines, status=304) if '"1"' in r.headers.get("if-none-match", "")
                      else reply("one", *lines))
    assert cache.get(path, x_which="2").text == "one"


def test_4_1_offline_only_the_variant_that_was_read_is_there(cache, path):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    cache.get(path, accept_language="en")
    with cache.offline():
        assert cache.get(path, accept_language="en").text == "in en"
        assert cache.get(path, accept_language="de").status == 504


def test_4_1_hundreds_of_variants_do_not_displace_the_truth(cache, path):
    cache.origin.tell(path, by_language("Vary: Accept-Language"))
    for _ in range(2):
        for i in range(200):
            assert cache.get(path, accept_language="x-%d" % i).text == "in x-%d" % i


# Validation (4.3): weir asks upstream

def test_4_3_1_a_stale_answer_is_validated_by_its_tag(cache, path):
    cache.origin.tell(path, version("content", '"v1"', MINUTE, OLD))
    cache.get(path)
    got = cache.get(path)
    assert (got.status, got.text) == (200, "content")
    asked = cache.origin.seen(path)[1]
    assert (asked.headers["if-none-match"], asked.status) == ('"v1"', 304)
    assert got.cache["fwd"] == "stale" and got.cache["fwd-status"] == 304


def test_4_3_1_by_a_weak_tag_too(cache, path):
    cache.origin.tell(path, version("content", 'W/"v1"', MINUTE, OLD))
    cache.get(path)
    assert cache.get(path).text == "content"
    assert cache.origin.seen(path)[1].headers["if-none-match"] == 'W/"v1"'


def test_4_3_1_and_by_its_date(cache, path):
    date = when(-864000)
    cache.origin.tell(path, version("content", None, MINUTE, OLD, modified=-864000))
    cache.get(path)
    assert cache.get(path).text == "content"
    assert cache.origin.seen(path)[1].headers["if-modified-since"] == date
    assert cache.origin.seen(path)[1].status == 304


def test_4_3_1_without_a_validator_it_is_asked_for_anew(cache, path):
    cache.origin.tell(path, reply("old", MINUTE, OLD), reply("new", MINUTE))
    cache.get(path)
    assert cache.get(path).text == "new"
    assert not {"if-none-match", "if-modified-since"} & set(cache.origin.seen(path)[1].headers)


def test_4_3_3_what_has_changed_replaces_what_was_stored(cache, path):
    cache.origin.tell(path, version("old", '"v1"', MINUTE, OLD), version("new", '"v2"', MINUTE))
    cache.get(path)
    for hit in (False, True):
        got = cache.get(path)
        assert (got.hit, got.text, got.headers["etag"]) == (hit, "new", '"v2"')


def test_4_3_3_a_304_makes_it_fresh(cache, path):
    cache.origin.tell(path, version("content", '"v1"', MINUTE, OLD), version("content", '"v1"', MINUTE))
    cache.get(path)
    cache.get(path)
    assert cache.get(path).hit and cache.asked(path) == 2


@pytest.mark.parametrize("tag", ['"v2"', 'W/"v2"'])
def test_4_3_4_a_304_for_another_version_updates_nothing(cache, path, tag):
    """An origin that knows the new tag and says that the old one is good: whose content is it?"""
    cache.origin.tell(path, reply("old", MINUTE, OLD, 'ETag: "v1"'))
    cache.get(path)
    cache.origin.tell(path, lambda r: reply("", MINUTE, "ETag: " + tag, status=304) if "if-none-match" in r.headers
                      else reply("new", MINUTE, "ETag: " + tag))
    for _ in range(2):
        got = cache.get(path)
        assert got.text == "new" or got.headers.get("etag") != tag, got


def test_4_3_4_a_304_for_a_later_modification_updates_nothing(cache, path):
    cache.origin.tell(path, reply("old", MINUTE, OLD, "Last-Modified: " + BEFORE))
    cache.get(path)
    cache.origin.tell(path, lambda r: reply("", MINUTE, "Last-Modified: " + AT, status=304)
                      if "if-modified-since" in r.headers else reply("new", MINUTE, "Last-Modified: " + AT))
    for _ in range(2):
        got = cache.get(path)
        assert got.text == "new" or got.headers.get("last-modified") != AT, got


def test_4_3_4_a_304_without_validators_is_for_what_was_asked_about(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, OLD, 'ETag: "v1"'), reply("", MINUTE, "X-New: 1", status=304))
    cache.get(path)
    assert cache.get(path).text == "content"
    got = cache.get(path)
    assert got.hit and got.headers["etag"] == '"v1"' and got.headers["x-new"] == "1"


def test_4_3_1_the_clients_conditions_do_not_leak_into_weirs(cache, path):
    """A 304 to another's tag would say nothing of what is stored."""
    cache.origin.tell(path, version("old", '"v1"', MINUTE, OLD), version("new", '"v2"', MINUTE))
    cache.get(path)
    got = cache.get(path, if_none_match='"v2"')
    assert got.status in (200, 304)
    assert cache.get(path).text == "new"


# Conditions of the client (4.3.2)

TAGS = ["ETag: \"v1\"", "Last-Modified: Sun, 01 Mar 2020 12:00:00 GMT"]
AT, BEFORE, AFTER = ("Sun, 01 Mar 2020 %d:00:00 GMT" % h for h in (12, 11, 13))


@pytest.mark.parametrize("section, headers, status", [
    ("same", {"if_none_match": '"v1"'}, 304),
    ("compared-weakly", {"if_none_match": 'W/"v1"'}, 304),
    ("in-a-list", {"if_none_match": '"a", "b,c" ,"v1"'}, 304),
    ("any", {"if_none_match": "*"}, 304),
    ("other", {"if_none_match": '"v2"'}, 200),
    ("a-part-of-it", {"if_none_match": '"v"'}, 200),
    ("without-quotes", {"if_none_match": "v1"}, 200),
    ("date-same", {"if_modified_since": AT}, 304),
    ("date-later", {"if_modified_since": AFTER}, 304),
    ("date-earlier", {"if_modified_since": BEFORE}, 200),
    ("date-as-rfc-850-wrote-it", {"if_modified_since": "Sunday, 01-Mar-20 12:00:00 GMT"}, 304),
    ("date-that-nobody-reads", {"if_modified_since": "yesterday"}, 200),
    ("tag-outranks-date", {"if_none_match": '"v2"', "if_modified_since": AFTER}, 200),
    ("tag-outranks-date-2", {"if_none_match": '"v1"', "if_modified_since": BEFORE}, 304),
    ("if-match-is-not-for-caches", {"if_match": '"v2"'}, 200),
    ("nor-does-it-hide-the-others", {"if_match": '"v2"', "if_none_match": '"v1"'}, 304),
    ("if-unmodified-since-is-not-for-caches", {"if_unmodified_since": BEFORE}, 200),
])
@pytest.mark.parametrize("method, state", [("GET", "stored"), ("HEAD", "stored"), ("GET", "offline")])
def test_4_3_2_conditions_are_judged_by_what_is_stored(cache, path, section, headers, status, method, state):
    cache.origin.tell(path, reply("content", MINUTE, *TAGS, *([OLD] if state == "offline" else [])))
    cache.get(path)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if state == "offline":
        with cache.offline():
            got = cache.ask(method, path, None, headers)
    else:
        got = cache.ask(method, path, None, headers)
    assert got.status == status
    assert got.body == (b"content" if status == 200 and method == "GET" else b"")
    assert cache.asked(path) == 1
    if status == 304:
        assert got.headers["etag"] == '"v1"' and "date" in got.headers and "cache-control" in got.headers


def test_4_3_2_a_condition_on_what_is_not_stored_yet(cache, path):
    cache.origin.tell(path, version("content", '"v1"', MINUTE))
    got = cache.get(path, if_none_match='"v1"')
    assert (got.status, got.body) == (304, b"")
    assert cache.get(path).text == "content"
    assert cache.get(path).text == "content"


def test_4_3_2_a_condition_on_what_is_stale_and_has_not_changed(cache, path):
    cache.origin.tell(path, version("content", '"v1"', MINUTE, OLD))
    cache.get(path)
    assert cache.get(path, if_none_match='"v1"').status == 304
    assert cache.origin.seen(path)[1].status == 304
    assert cache.get(path).text == "content"


def test_4_3_2_a_condition_on_what_is_stale_and_has_changed(cache, path):
    cache.origin.tell(path, version("old", '"v1"', MINUTE, OLD), version("new", '"v2"', MINUTE))
    cache.get(path)
    got = cache.get(path, if_none_match='"v1"')
    assert (got.status, got.text) == (200, "new")


@pytest.mark.parametrize("status", [302, 404])
def test_13_2_1_conditions_do_not_apply_to_other_answers(cache, path, status):
    cache.origin.tell(path, reply("content", MINUTE, *TAGS, "Location: /x", status=status))
    cache.get(path)
    assert cache.get(path, if_none_match='"v1"').status == status


# HEAD (4.3.5)

def test_4_3_5_head_is_answered_from_a_stored_get(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, *TAGS))
    cache.get(path)
    got = cache.head(path)
    assert (got.status, got.body, got.headers["content-length"], got.headers["etag"]) == (200, b"", "7", '"v1"')
    assert got.hit and cache.asked(path) == 1


def test_4_3_5_head_offline(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, OLD, *TAGS))
    cache.get(path)
    with cache.offline():
        got = cache.head(path)
    assert (got.status, got.body, got.headers["content-length"], got.headers["etag"]) == (200, b"", "7", '"v1"')


@pytest.mark.parametrize("lines", [['ETag: "v2"', "Content-Length: 3"], ['ETag: "v1"', "Content-Length: 3"],
                                   ["Last-Modified: Sun, 01 Mar 2020 13:00:00 GMT", "Content-Length: 7"]])
def test_4_3_5_head_may_tell_that_what_is_stored_has_changed(cache, path, lines):
    cache.origin.tell(path, reply("content", MINUTE, *TAGS), version("new", '"v2"', MINUTE), method="GET")
    cache.origin.tell(path, reply(b"", MINUTE, *lines, framing="none"), method="HEAD")
    cache.get(path)
    cache.head(path, cache_control="no-cache")
    assert cache.get(path).text == "new"


def test_4_3_5_head_goes_upstream_as_head_when_nothing_is_stored(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: no-store"))
    got = cache.head(path)
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "7")
    assert [r.method for r in cache.origin.seen(path)] == ["HEAD"]


# What a request asks of the cache (5.2.1)

@pytest.mark.parametrize("section, lines, wish, asked", [
    ("5.2.1.1-max-age", ["Cache-Control: max-age=3600", OLD], "max-age=50", 2),
    ("5.2.1.1-max-age-met", ["Cache-Control: max-age=3600", OLD], "max-age=1000", 1),
    ("5.2.1.1-max-age-0", ["Cache-Control: max-age=3600"], "max-age=0", 2),
    ("5.2.1.1-max-age-is-no-leave", [MINUTE, OLD], "max-age=1000", 2),
    ("5.2.1.1-invalid", ["Cache-Control: max-age=3600", OLD], "max-age=x", 2),
    ("5.2.1.2-max-stale", [MINUTE, OLD], "max-stale=1000", 1),
    ("5.2.1.2-max-stale-passed", [MINUTE, OLD], "max-stale=10", 2),
    ("5.2.1.2-max-stale-any", [MINUTE, OLD], "max-stale", 1),
    ("5.2.1.2-max-stale-beside-max-age", [MINUTE, OLD], "max-stale=1000, max-age=1000", 1),
    ("5.2.2.2-not-against-must-revalidate", ["Cache-Control: max-age=60, must-revalidate", OLD], "max-stale", 2),
    ("5.2.2.8-not-against-proxy-revalidate", ["Cache-Control: max-age=60, proxy-revalidate", OLD], "max-stale", 2),
    ("5.2.2.10-not-against-s-maxage", ["Cache-Control: s-maxage=60", OLD], "max-stale", 2),
    ("5.2.2.4-not-against-no-cache", ["Cache-Control: no-cache, max-age=60"], "max-stale", 2),
    ("5.2.1.3-min-fresh", ["Cache-Control: max-age=3600"], "min-fresh=10000", 2),
    ("5.2.1.3-min-fresh-met", ["Cache-Control: max-age=3600"], "min-fresh=1000", 1),
    ("5.2.1.3-min-fresh-and-its-age", ["Cache-Control: max-age=3600", "Age: 3000"], "min-fresh=1000", 2),
    ("5.2.1.4-no-cache", ["Cache-Control: max-age=3600"], "no-cache", 2),
    ("5.2.1.4-no-cache-beside-max-stale", ["Cache-Control: max-age=3600"], "no-cache, max-stale", 2),
    ("5.2.1.7-only-if-cached", ["Cache-Control: max-age=3600"], "only-if-cached", 1),
    ("5.2-unknown", ["Cache-Control: max-age=3600"], "please", 1),
])
def test_5_2_1_wishes(cache, path, section, lines, wish, asked):
    cache.origin.tell(path, version("content", '"v1"', *lines))
    cache.get(path)
    got = cache.get(path, cache_control=wish)
    assert (got.status, got.text) == (200, "content")
    assert cache.asked(path) == asked
    if asked == 2:
        assert cache.origin.seen(path)[1].headers["if-none-match"] == '"v1"'


def test_5_4_pragma(cache, path):
    cache.origin.tell(path, version("content", '"v1"', "Cache-Control: max-age=3600"))
    cache.get(path)
    cache.get(path, pragma="no-cache")
    assert cache.asked(path) == 2
    cache.get(path, pragma="no-cache", cache_control="max-age=1000")
    assert cache.asked(path) == 2


@pytest.mark.parametrize("section, lines", [
    ("nothing", None), ("stale", [MINUTE, OLD]), ("no-cache", ["Cache-Control: no-cache"])])
def test_5_2_1_7_only_if_cached_is_504_rather_than_a_question(cache, path, section, lines):
    cache.origin.tell(path, reply("content", *(lines or [])))
    if lines:
        cache.get(path)
    asked = cache.asked(path)
    got = cache.get(path, cache_control="only-if-cached")
    assert got.status == 504 and "application/problem+json" in got.headers["content-type"]
    assert cache.asked(path) == asked


def test_5_2_1_7_only_if_cached_with_max_stale(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, OLD))
    cache.get(path)
    assert cache.get(path, cache_control="only-if-cached, max-stale").text == "content"
    assert cache.asked(path) == 1


@pytest.mark.parametrize("wish", ["no-cache", "max-age=0", "min-fresh=100000", "max-stale=0", "no-store"])
def test_5_2_1_offline_wishes_of_freshness_do_not_hide_what_is_there(cache, path, wish):
    """A reload of a page had better show something."""
    cache.origin.tell(path, reply("content", MINUTE, OLD))
    cache.get(path)
    with cache.offline():
        assert cache.get(path, cache_control=wish).text == "content"
