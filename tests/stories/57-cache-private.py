"""What upstream guards, the mirror guards (invariants 4, 6 and 10)."""

import os

import pytest

from lab.cachekit import reply

HOUR = "Cache-Control: max-age=3600"
SECRET = "xyzzy: the secret plans"
GOOD, OTHER, BAD = "Bearer good-credential", "Bearer other-credential", "Bearer bad-credential"


def guarded(*lines, accepts=(GOOD, OTHER), body=SECRET):
    """Content with a tag for those whom the origin knows; 401 for nobody, 403 for others."""
    def answer(r):
        who = r.headers.get("authorization")
        if who is None:
            return reply("who are you", 'WWW-Authenticate: Bearer realm="x"', status=401)
        if who not in accepts:
            return reply("not you", status=403)
        if '"v1"' in r.headers.get("if-none-match", ""):
            return reply("", 'ETag: "v1"', *lines, status=304)
        return reply(body, 'ETag: "v1"', *lines)
    return answer


def leaks(answer):
    """Whether an answer tells anything of guarded content: itself, a part of it, or that a guess about it is right."""
    return (answer.status in (200, 206, 304, 412, 416) or SECRET[:4] in answer.text
            or answer.headers.get("etag") == '"v1"')


ASKS = [{}, {"if_none_match": '"v1"'}, {"if_none_match": "*"}, {"if_match": '"none"'}, {"range": "bytes=0-3"},
        {"range": "bytes=99-"}, {"cache_control": "only-if-cached, max-stale"}, {"cookie": "a=b"}]


@pytest.mark.parametrize("lines", [(), (HOUR,), ("Cache-Control: max-age=60", "Age: 100")])
def test_online_upstream_decides_each_time(cache, path, lines):
    cache.origin.tell(path, guarded(*lines))
    for who, status in ((GOOD, 200), (BAD, 403), (OTHER, 200), (None, 401), (GOOD, 200)):
        got = cache.get(path, **({"authorization": who} if who else {}))
        assert got.status == status and (got.text == SECRET) == (status == 200)


@pytest.mark.parametrize("ask", range(len(ASKS)))
def test_offline_only_those_whom_upstream_accepted_are_served(cache, path, ask):
    cache.origin.tell(path, guarded(HOUR))
    assert cache.get(path, authorization=GOOD).status == 200
    with cache.offline():
        for who in (None, BAD, OTHER):
            for method in ("GET", "HEAD"):
                headers = {name.replace("_", "-"): value for name, value in ASKS[ask].items()}
                got = cache.ask(method, path, None, dict(headers, **({"Authorization": who} if who else {})))
                assert not leaks(got), (who, method, ASKS[ask], got)
        assert cache.get(path, authorization=GOOD).text == SECRET
        assert cache.get(path, authorization=GOOD, range="bytes=4-9").text == SECRET[4:10]


def test_offline_a_refusal_says_no_more_than_that_upstream_is_away(cache, path):
    """Whether something is there is itself a secret: the answer is that for what was never read."""
    cache.origin.tell(path, guarded(HOUR))
    cache.get(path, authorization=GOOD)
    with cache.offline():
        refused, never = cache.get(path), cache.get(path + "-never")
    assert refused.status == never.status


def test_offline_the_credential_has_to_be_the_same_to_the_byte(cache, path):
    cache.origin.tell(path, guarded(HOUR))
    cache.get(path, authorization=GOOD)
    with cache.offline():
        for who in (GOOD + "x", GOOD[:-1], GOOD.replace("good", "GOOD"), "Basic " + GOOD[7:], GOOD[7:]):
            assert not leaks(cache.get(path, authorization=who)), who


def test_both_who_were_accepted_are_served_offline(cache, path):
    cache.origin.tell(path, guarded(HOUR))
    for who in (GOOD, OTHER):
        cache.get(path, authorization=who)
    with cache.offline():
        for who in (GOOD, OTHER):
            assert cache.get(path, authorization=who).text == SECRET


def test_a_yes_for_one_uri_is_none_for_another(cache, path):
    first, second = path + "-1", path + "-2"
    cache.origin.tell(first, guarded(HOUR))
    cache.origin.tell(second, guarded(HOUR, accepts=(OTHER,)))
    cache.get(first, authorization=GOOD)
    cache.get(second, authorization=OTHER)
    with cache.offline():
        assert cache.get(first, authorization=GOOD).text == SECRET
        assert not leaks(cache.get(second, authorization=GOOD))
        assert not leaks(cache.get(first, authorization=OTHER))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_no_ends_what_was_allowed(cache, path, status):
    """Invariant 4: the originals served a revoked user from the cache for ever."""
    cache.origin.tell(path, guarded(HOUR))
    for who in (GOOD, OTHER):
        assert cache.get(path, authorization=who).status == 200
    cache.origin.tell(path, lambda r: reply("no more", status=status) if r.headers.get("authorization") == GOOD
                      else guarded(HOUR)(r))
    assert cache.get(path, authorization=GOOD).status == status
    with cache.offline():
        assert not leaks(cache.get(path, authorization=GOOD))
        if status in (401, 403):
            assert cache.get(path, authorization=OTHER).text == SECRET


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_error_is_no_no(cache, path, status):
    cache.origin.tell(path, guarded(HOUR))
    cache.get(path, authorization=GOOD)
    cache.origin.tell(path, reply("down", status=status))
    assert cache.get(path, authorization=GOOD).text == SECRET
    assert not leaks(cache.get(path))
    cache.settle()
    assert not leaks(cache.get(path, authorization=BAD))


@pytest.mark.parametrize("how", ["HEAD", "range", "PROPFIND"])
def test_a_no_counts_however_it_was_asked_for(cache, path, how):
    """While nothing is stored these go straight through; what another has stored since is not for who was refused."""
    ask, more = ("GET", {"Range": "bytes=0-3"}) if how == "range" else (how, {})
    cache.origin.tell(path, guarded(HOUR))
    assert cache.get(path, authorization=GOOD).status == 200
    cache.origin.tell(path, reply("", status=204), method="PUT")
    assert cache.put(path, "x").status == 204                           # what was stored goes
    cache.origin.tell(path, guarded(HOUR, accepts=(OTHER,)))
    assert cache.ask(ask, path, None, dict(more, Authorization=GOOD)).status == 403
    assert cache.get(path, authorization=OTHER).status == 200
    with cache.offline():
        assert cache.get(path, authorization=OTHER).text == SECRET
        assert not leaks(cache.get(path, authorization=GOOD))


def test_a_no_counts_though_its_answer_does_not_come_whole(cache, path):
    cache.origin.tell(path, guarded(HOUR), [b"HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\nhalf"])
    assert cache.get(path, authorization=GOOD).status == 200
    cache.is_cut(path, authorization=GOOD)
    with cache.offline():
        assert not leaks(cache.get(path, authorization=GOOD))


def test_what_was_public_is_public_offline(cache, path):
    cache.origin.tell(path, reply("for all", HOUR))
    cache.get(path)
    with cache.offline():
        assert cache.get(path).text == "for all"
        assert cache.get(path, authorization=BAD).text == "for all"


def test_what_became_guarded_is_no_longer_public(cache, path):
    cache.origin.tell(path, reply("for all", "Cache-Control: max-age=60", "Age: 100"))
    cache.get(path)
    cache.origin.tell(path, guarded(HOUR))
    assert cache.get(path).status == 401
    assert cache.get(path, authorization=GOOD).text == SECRET
    with cache.offline():
        assert not leaks(cache.get(path))


def test_who_was_accepted_is_remembered_over_a_restart(cache, path):
    cache.origin.tell(path, guarded(HOUR))
    cache.get(path, authorization=GOOD)
    cache.weir.restart()
    with cache.offline():
        assert cache.get(path, authorization=GOOD).text == SECRET
        assert not leaks(cache.get(path, authorization=BAD))
        assert not leaks(cache.get(path))


def test_no_credential_is_on_disk_or_in_the_log(cache, path):
    """Invariant 10."""
    cache.origin.tell(path, guarded(HOUR))
    for who in (GOOD, BAD):
        cache.get(path, authorization=who, cookie="session=good-cookie", proxy_authorization="Basic good-proxy")
    cache.weir.restart()
    log = cache.weir.whole_log()
    assert not [w for w in ("good-credential", "bad-credential", "good-cookie", "good-proxy") if w in log]
    for folder, _, names in os.walk(cache.weir.data_dir):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            assert b"good-credential" not in data and b"bad-credential" not in data, name


def test_vary_on_a_cookie_keeps_users_apart(cache, path):
    cache.origin.tell(path, lambda r: reply("for " + r.headers.get("cookie", "nobody"), HOUR, "Vary: Cookie"))
    for user in ("a=1", "a=2"):
        assert cache.get(path, cookie=user).text == "for " + user
    with cache.offline():
        assert cache.get(path, cookie="a=1").text == "for a=1"
        assert cache.get(path).status == 504
