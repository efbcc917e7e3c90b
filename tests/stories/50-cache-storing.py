"""What the mirror stores, and what of it (RFC 9111 section 3; RFC 9213 for CDNs' own field).

"Reused" means that a second request for the same is answered without the origin.
"""

import pytest

from lab.cachekit import reply, version, when
from lab.wait import wait_until

MINUTE = "Cache-Control: max-age=60"
LONG_AGO = "Last-Modified: Sun, 01 Mar 2020 00:00:00 GMT"


def is_reused(cache, path, again=None):
    """Two GETs; whether the origin was asked only once. The second is answered rightly in any case."""
    first = cache.get(path)
    second = cache.get(path, **(again or {}))
    assert (second.status, second.body) == (first.status, first.body)
    assert second.hit == (cache.asked(path) == 1), second
    return second.hit


@pytest.mark.parametrize("section, lines, reused", [
    ("3-max-age", [MINUTE], True),
    ("3-s-maxage", ["Cache-Control: s-maxage=60"], True),
    ("3-expires", ["Expires: {+60}"], True),
    ("3-last-modified", [LONG_AGO], True),
    ("3-nothing-to-go-by", [], False),
    ("3-public-says-nothing-of-freshness", ["Cache-Control: public"], False),
    ("5.2-names-in-any-case", ["CACHE-CONTROL: Max-AGE=60"], True),
    ("5.2-quoted-argument", ['Cache-Control: max-age="60"'], True),
    ("5.2-empty-members", ["Cache-Control: , ,max-age=60,,"], True),
    ("5.2.3-unknown-directive", ['Cache-Control: max-age=60, community="UCI, no-store"'], True),
    ("5.2.2.5-no-store", ["Cache-Control: max-age=60, no-store"], False),
    ("5.2.2.5-no-store-on-another-line", [MINUTE, "Cache-Control: no-store"], False),
    ("5.2.2.5-no-store-without-spaces", ["Cache-Control: max-age=60,no-store"], False),
    ("5.2.2.5-no-store-outranks-expires", ["Expires: {+60}", "Cache-Control: no-store"], False),
    ("5.2.2.7-private", ["Cache-Control: private, max-age=60"], False),
    ("5.2.2.7-private-with-fields", ['Cache-Control: private="x-own", max-age=60'], False),
    ("5.2.2.4-no-cache", ["Cache-Control: no-cache, max-age=60"], False),
    ("5.2.2.4-no-cache-with-fields", ['Cache-Control: no-cache="x-own", max-age=60'], False),
    ("5.2.2.3-must-understand", ["Cache-Control: must-understand, no-store, max-age=60"], True),
    ("4.1-vary-on-everything", [MINUTE, "Vary: *"], False),
    ("4.1-vary-on-everything-in-a-list", [MINUTE, "Vary: Accept, *"], False),
])
def test_3_what_a_200_says_of_its_storing(cache, path, section, lines, reused):
    lines = [l.replace("{+60}", when(60)) for l in lines]
    cache.origin.tell(path, reply("content", *lines))
    assert is_reused(cache, path) is reused


@pytest.mark.parametrize("section, lines, reused", [
    ("stands-in-for-cache-control", ["CDN-Cache-Control: max-age=60", "Cache-Control: no-store"], True),
    ("forbids", ["CDN-Cache-Control: no-store", MINUTE], False),
    ("private", ["CDN-Cache-Control: private, max-age=60"], False),
    ("shorter", ["CDN-Cache-Control: max-age=0", MINUTE], False),
    ("expires-does-not-count-beside-it", ["CDN-Cache-Control: public", "Expires: {+60}"], False),
    ("two-lines-are-one", ["CDN-Cache-Control: public", "CDN-Cache-Control: max-age=60", "Cache-Control: no-store"],
     True),
    ("the-last-of-two-counts", ["CDN-Cache-Control: max-age=0, max-age=60"], True),
    ("parameters-are-ignored", ["CDN-Cache-Control: max-age=60;x=1", "Cache-Control: no-store"], True),
    ("a-member-of-the-wrong-type-is-passed-over", ['CDN-Cache-Control: max-age="60", public', MINUTE], False),
    ("unreadable-is-not-there", ["CDN-Cache-Control: max-age=60, &&", "Cache-Control: no-store"], False),
    ("unreadable-is-not-there-2", ["CDN-Cache-Control: no-store, &&", MINUTE], True),
    ("empty-is-not-there", ["CDN-Cache-Control:", MINUTE], True),
    ("a-dictionary-has-keys-in-lower-case", ["CDN-Cache-Control: No-Store", MINUTE], True),
])
def test_9213_a_field_for_shared_caches_outranks_cache_control(cache, path, section, lines, reused):
    lines = [l.replace("{+60}", when(60)) for l in lines]
    cache.origin.tell(path, reply("content", *lines))
    assert is_reused(cache, path) is reused


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_4_2_2_statuses_that_may_be_kept_by_heuristics(cache, path, status):
    cache.origin.tell(path, reply("" if status == 204 else "content", LONG_AGO, "Location: /there", status=status))
    assert is_reused(cache, path)


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 403, 409, 418, 299, 599])
def test_4_2_2_statuses_that_may_not_be_kept_by_heuristics(cache, path, status):
    cache.origin.tell(path, reply("content", LONG_AGO, "Location: /there", status=status))
    assert not is_reused(cache, path)


@pytest.mark.parametrize("status", [200, 302, 307, 404])
def test_3_an_explicit_lifetime_lets_other_statuses_be_kept(cache, path, status):
    cache.origin.tell(path, reply("content", MINUTE, "Location: /there", status=status))
    assert is_reused(cache, path)


@pytest.mark.parametrize("status", [299, 499, 599])
def test_5_2_2_3_must_understand_and_a_status_that_nobody_does(cache, path, status):
    cache.origin.tell(path, reply("content", "Cache-Control: must-understand, max-age=60", status=status))
    assert not is_reused(cache, path)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_an_answer_that_is_none_is_not_kept_in_place_of_content(cache, path, status):
    """Not even with a lifetime: it would hide the recovery, and offline the content that was there before."""
    cache.origin.tell(path, reply("down", MINUTE, status=status), reply("content", MINUTE))
    assert cache.get(path).status == status
    cache.settle()
    assert cache.get(path).text == "content"


def test_3_a_206_is_never_taken_for_the_whole(cache, path):
    cache.origin.tell(path, reply("0123", MINUTE, "Content-Range: bytes 0-3/10", status=206),
                      reply("0123456789", MINUTE))
    cache.get(path)
    whole = cache.get(path)
    assert (whole.status, whole.text) == (200, "0123456789")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "LOCK"])
def test_3_only_answers_to_get_are_kept(cache, path, method):
    cache.origin.tell(path, reply("of the method", MINUTE), method=method)
    cache.origin.tell(path, reply("of GET", MINUTE), method="GET")
    for _ in range(2):
        assert cache.ask(method, path, "x" if method.startswith("P") else None).text == "of the method"
    assert cache.origin.count(path, method) == 2
    assert cache.get(path).text == "of GET"


def test_3_an_answer_to_head_is_no_content(cache, path):
    cache.origin.tell(path, reply("content", MINUTE))
    head = cache.head(path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "7")
    assert cache.get(path).text == "content"
    assert cache.get(path).hit


def test_5_2_1_5_a_request_may_forbid_storing(cache, path):
    cache.origin.tell(path, reply("content", MINUTE))
    cache.get(path, cache_control="no-store")
    assert not cache.get(path).hit
    assert cache.get(path).hit
    assert cache.asked(path) == 2


@pytest.mark.parametrize("section, line, shared", [
    ("max-age-is-not-enough", MINUTE, False),
    ("public", "Cache-Control: public, max-age=60", True),
    ("s-maxage", "Cache-Control: s-maxage=60", True),
    ("must-revalidate", "Cache-Control: must-revalidate, max-age=60", True),
    ("cdn-public", "CDN-Cache-Control: public, max-age=60", True),
])
def test_3_5_an_answer_to_authorization_is_shared_only_when_it_says_so(cache, path, section, line, shared):
    cache.origin.tell(path, reply("first", line), reply("second", line))
    assert cache.get(path, authorization="Bearer one").text == "first"
    assert cache.get(path).text == ("first" if shared else "second")
    assert cache.asked(path) == (1 if shared else 2)


def test_3_5_the_authorized_never_get_anothers(cache, path):
    cache.origin.tell(path, lambda r: reply("of " + r.headers.get("authorization", "nobody"), MINUTE))
    for who in ("Bearer one", "Bearer two", "Bearer one"):
        assert cache.get(path, authorization=who).text == "of " + who
    assert cache.get(path).text == "of nobody"


def test_3_the_key_is_the_whole_target_as_it_was_written(cache, path):
    targets = [path, path + "?", path + "?x=1", path + "?x=2", path + "?X=1", path + "/", path + "%2f", path + "%2F"]
    for i, target in enumerate(targets):
        cache.origin.tell(target, reply("content %d" % i, MINUTE))
    for _ in range(2):
        for i, target in enumerate(targets):
            assert cache.get(target).text == "content %d" % i
    assert len([r for r in cache.origin.seen() if r.target in targets]) == len(targets)


def test_3_1_fields_of_the_connection_are_not_kept(cache, path):
    hop = ["X-Hop: 1", "Keep-Alive: timeout=9", "Proxy-Authenticate: Basic", "TE: gzip", "Upgrade: h2c"]
    cache.origin.tell(path, reply("content", MINUTE, "Connection: X-Hop, Upgrade", "X-Kept: 1", *hop))
    for hit in (False, True):
        got = cache.get(path)
        assert got.hit is hit and got.headers["x-kept"] == "1"
        assert not [line for line in hop if line.split(":")[0].lower() in got.headers], got.headers


def test_3_1_other_fields_are_kept_each_line_of_them(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, "X-Twice: a", "X-Once: 1", "X-Twice: b", 'ETag: "v"', "X-Empty:",
                                  "Content-Language: de", "Content-Encoding: x-odd", "Link: </a>; rel=x, </b>; rel=y"))
    cache.get(path)
    got = cache.get(path).headers
    assert (got["x-twice"], got["x-once"], got["x-empty"], got["etag"]) == ("a, b", "1", "", '"v"')
    assert (got["content-language"], got["content-encoding"]) == ("de", "x-odd")
    assert got["link"] == "</a>; rel=x, </b>; rel=y"


def test_6_6_1_an_answer_without_a_date_is_given_one(cache, path):
    cache.origin.tell(path, reply("content", MINUTE, date=None))
    assert cache.get(path).headers["date"].endswith("GMT")
    assert cache.get(path).headers["date"].endswith("GMT")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 1000000])
def test_bodies_of_all_sizes_in_all_framings(cache, path, framing, size):
    body = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
    cache.origin.tell(path, reply(body[:size], MINUTE, framing=framing))
    assert cache.store(path).body == body[:size]
    got = cache.get(path)
    assert got.hit and got.body == body[:size]
    assert got.headers["content-length"] == str(size)


# 304s update what is stored (3.2)

def updated(cache, path, *lines):
    """What is stored after a 304 with these lines has validated content that came with X-Version: 1."""
    first = reply("content", 'ETag: "v1"', "X-Version: 1", "X-Stays: 1", "Content-Type: text/plain", MINUTE, "Age: 100")
    cache.origin.tell(path, first, reply(b"", 'ETag: "v1"', *lines, status=304))
    cache.get(path)
    validated = cache.get(path)
    assert (validated.status, validated.text) == (200, "content")
    assert cache.origin.seen(path)[-1].headers["if-none-match"] == '"v1"'
    return validated


def test_3_2_a_304_renews_what_it_names_and_leaves_the_rest(cache, path):
    validated = updated(cache, path, MINUTE, "X-Version: 2", "X-New: 1")
    stored = cache.get(path)
    assert stored.hit and cache.asked(path) == 2
    for got in (validated, stored):
        assert (got.headers["x-version"], got.headers["x-new"], got.headers["x-stays"]) == ("2", "1", "1")
    assert int(stored.headers["age"]) < 60


def test_3_2_a_304_cannot_change_what_describes_the_stored_bytes(cache, path):
    updated(cache, path, MINUTE, "Content-Encoding: gzip", "Content-Range: bytes 0-1/2", "Content-Length: 999")
    got = cache.get(path)
    assert got.hit and got.text == "content" and got.headers["content-length"] == "7"
    assert "content-encoding" not in got.headers and "content-range" not in got.headers


def test_3_2_a_304_may_end_the_storing(cache, path):
    updated(cache, path, "Cache-Control: no-store")
    cache.origin.tell(path, reply("new", MINUTE))
    assert cache.get(path).text == "new"


def test_3_2_a_304_may_shorten_the_life(cache, path):
    updated(cache, path, "Cache-Control: max-age=0")
    cache.get(path)
    assert cache.asked(path) == 3


def test_3_2_a_304_for_content_that_is_a_file(cache, path):
    body = b"0123456789abcdef" * 8192
    cache.origin.tell(path, version(body, '"big"', MINUTE, "Age: 100"), version(body, '"big"', MINUTE, "X-Version: 2"))
    cache.store(path)
    wait_until(lambda: cache.get(path).cache.get("fwd-status") == 304)
    got = cache.get(path)
    assert got.hit and got.body == body and got.headers["x-version"] == "2"


def test_7_3_cookies_do_not_go_to_others(cache, path):
    """RFC 9111 7.3 leaves it to the cache; a cookie set for one client is nobody else's."""
    cache.origin.tell(path, lambda r: reply("content", MINUTE, "Set-Cookie: who=%d" % cache.asked(path)))
    got = [cache.get(path).headers.get("set-cookie") for _ in range(3)]
    assert len(set(filter(None, got))) == len(list(filter(None, got))), got
