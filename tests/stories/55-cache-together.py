"""Many who want the same: one question upstream (RFC 9111 section 4, collapsing), and what goes wrong on the way hurts
nobody else."""

import itertools
import threading

import pytest

from lab.cachekit import reply, version
from lab.wait import wait_until
from lab.wire import Raw

HOUR = "Cache-Control: max-age=3600"
MIB = 1 << 20


def collapsed(cache):
    return cache.weir.metric("weir_collapsed_requests_total", service="files")


def connections(cache):
    return cache.weir.metric("weir_http_connections")


def together(cache, path, count, ask):
    """What so many clients get that come while the first question is held upstream."""
    with cache.origin.hold(path) as gate:
        def go_on():
            wait_until(lambda: gate.arrived and connections(cache) >= count or gate.arrived >= count)
            gate.open()
        threading.Thread(target=go_on, daemon=True).start()
        return cache.together(count, ask)


def take(raw, size, begun=None):
    """Reads the head of an answer and so many bytes of its body, at least, or goes on with what has begun; the body."""
    if begun is None:
        raw.read_until(b"\r\n\r\n")
    parts, left = [begun or b"", raw.buffer], size - len(begun or b"") - len(raw.buffer)
    while left > 0:
        data = raw.sock.recv(1 << 18)
        assert data, "closed %d bytes before the end" % left
        parts.append(data)
        left -= len(data)
    raw.buffer = b""
    return b"".join(parts)


def test_100_clients_ask_upstream_once(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    answers = together(cache, path, 100, lambda i: cache.ask("GET", path, timeout=60))
    assert [a.text for a in answers] == ["content"] * 100
    assert cache.asked(path) == 1
    assert sum(a.hit or "collapsed" in a.cache for a in answers) == 99
    assert any("collapsed" in a.cache for a in answers) and collapsed(cache) > 0


def test_so_do_100_when_what_is_stored_is_stale(cache, path):
    cache.origin.tell(path, version("content", '"v1"', HOUR, "Age: 10000"), version("content", '"v1"', HOUR))
    cache.get(path)
    answers = together(cache, path, 100, lambda i: cache.ask("GET", path, timeout=60))
    assert [a.text for a in answers] == ["content"] * 100
    assert cache.asked(path) == 2


def in_two_parts(body):
    """An answer whose second half is sent when the event is set."""
    event = threading.Event()

    def answer(_request):
        whole = reply(body, HOUR)
        yield whole[:len(whole) - len(body) // 2]
        event.wait(60)
        yield whole[len(whole) - len(body) // 2:]
    return answer, event


BODY = b"".join(b"%07d\n" % i for i in range(2 * MIB // 8))


def test_a_large_answer_is_shared_while_it_comes(cache, path):
    """Whoever comes late gets the bytes that are there, and then the rest with the others."""
    answer, rest = in_two_parts(BODY)
    cache.origin.tell(path, answer)
    readers = [cache.raw(path)]
    begun = [take(readers[0], MIB)]
    readers += [cache.raw(path) for _ in range(10)]
    begun += [take(r, MIB) for r in readers[1:]]
    rest.set()
    for reader, begin in zip(readers, begun):
        assert take(reader, len(BODY), begin) == BODY
        reader.close()
    assert cache.asked(path) == 1
    assert cache.store(path).body == BODY and cache.asked(path) == 1


@pytest.mark.parametrize("wish", ["no-cache", "max-age=0"])
def test_5_2_1_4_who_asks_for_news_does_not_join_what_began_before(cache, path, wish):
    answer, rest = in_two_parts(BODY)
    cache.origin.tell(path, answer, reply("news", HOUR))
    reader = cache.raw(path)
    begun = take(reader, MIB)
    assert cache.get(path, cache_control=wish).text == "news"
    rest.set()
    assert take(reader, len(BODY), begun) == BODY
    reader.close()
    assert cache.get(path, cache_control=wish).text == "news"


@pytest.mark.parametrize("line", ["Cache-Control: no-store", "Cache-Control: private", "Vary: *"])
def test_an_answer_that_may_not_be_kept_is_nobody_elses(cache, path, line):
    number = itertools.count()
    cache.origin.tell(path, lambda r: reply("for one only %d" % next(number), line))
    answers = together(cache, path, 20, lambda i: cache.ask("GET", path, timeout=60))
    assert len({a.text for a in answers}) == 20, answers
    assert cache.asked(path) == 20


def test_each_gets_its_own_variant(cache, path):
    cache.origin.tell(path, lambda r: reply("in " + r.headers["accept-language"], HOUR, "Vary: Accept-Language"))
    answers = together(cache, path, 40, lambda i: cache.get(path, accept_language="x-%d" % (i % 4)))
    assert [a.text for a in answers] == ["in x-%d" % (i % 4) for i in range(40)]


def test_each_credential_asks_for_itself(cache, path):
    cache.origin.tell(path, lambda r: reply("of " + r.headers.get("authorization", "nobody"), HOUR))
    answers = together(cache, path, 40, lambda i: cache.get(path, authorization="Bearer %d" % (i % 4)))
    assert [a.text for a in answers] == ["of Bearer %d" % (i % 4) for i in range(40)]


def test_the_first_client_leaves_and_the_others_get_theirs(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    with cache.origin.hold(path) as gate:
        first = cache.raw(path)
        gate.wait_arrived()
        out = []
        others = threading.Thread(target=lambda: out.extend(cache.together(10, lambda i: cache.get(path))))
        others.start()
        wait_until(lambda: connections(cache) >= 11)
        first.close()
        gate.open()
        others.join()
    assert [a.text for a in out] == ["content"] * 10


def test_a_client_that_leaves_in_mid_body_hurts_nobody(cache, path):
    answer, rest = in_two_parts(BODY)
    cache.origin.tell(path, answer, reply(BODY, HOUR))
    first, second = cache.raw(path), cache.raw(path)
    take(first, 1000)
    first.close()
    rest.set()
    assert take(second, len(BODY)) == BODY
    second.close()
    assert cache.get(path).body == BODY


def test_a_download_that_everybody_has_left_is_ended_or_kept_but_never_half(cache, path):
    answer, rest = in_two_parts(BODY)
    cache.origin.tell(path, answer, reply(BODY, HOUR))
    only = cache.raw(path)
    take(only, 1000)
    only.close()
    rest.set()
    assert cache.get(path).body == BODY
    assert cache.get(path).body == BODY


def half_sent(body, framing):
    """An answer that ends in mid-body."""
    whole = reply(body, HOUR, framing=framing)
    return [whole[:len(whole) - len(body) // 2]]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1000, 100000, 3 * MIB])
def test_an_upstream_that_dies_in_mid_body_fails_all_and_the_next_try_succeeds(cache, path, framing, size):
    body = (b"0123456789" * (size // 10 + 1))[:size]
    cache.origin.tell(path, half_sent(body, framing))
    assert together(cache, path, 10, lambda i: cache.is_cut(path)) == [True] * 10
    cache.settle()
    cache.origin.tell(path, reply(body, HOUR))
    asked = cache.asked(path)
    got = cache.get(path)
    assert got.body == body and not got.hit and cache.asked(path) == asked + 1
    assert cache.get(path).body == body and cache.asked(path) == asked + 1


def test_what_was_stored_is_not_lost_when_its_renewal_dies_in_mid_body(cache, path):
    cache.origin.tell(path, reply("old", HOUR, "Age: 10000"), half_sent(b"new" * 1000, "length"))
    cache.get(path)
    cache.is_cut(path)
    with cache.offline():
        assert cache.get(path).text == "old"


def test_an_error_is_shared_no_longer_than_it_takes(cache, path):
    cache.origin.tell(path, reply("not now", status=503))
    answers = together(cache, path, 10, lambda i: cache.ask("GET", path, timeout=60))
    assert all(a.status >= 500 for a in answers)
    cache.settle()
    cache.origin.tell(path, reply("content", HOUR))
    assert cache.get(path).text == "content"


# Slow readers

@pytest.mark.parametrize("state", ["miss", "hit"])
def test_a_slow_reader_harms_nobody(cache, path, state):
    body = BODY * 8
    cache.origin.tell(path, reply(body, HOUR))
    if state == "hit":
        cache.get(path)
    slow = [cache.raw(path) for _ in range(5)]       # they read nothing at all
    for _ in range(3):
        assert cache.get(path).body == body
    assert cache.asked(path) == 1
    for client in slow:
        assert take(client, len(body)) == body
        client.close()


def test_a_slow_reader_of_what_is_not_kept_does_not_hold_others(cache, path):
    body = b"x" * (8 * MIB)
    cache.origin.tell(path, reply(body, "Cache-Control: no-store"))
    slow = cache.raw(path)
    cache.origin.tell(path + "-beside", reply("content", HOUR))
    assert cache.get(path + "-beside").text == "content"
    assert cache.get(path).body == body
    assert take(slow, len(body)) == body
    slow.close()


def test_clients_that_send_their_next_request_at_once(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    cache.get(path)
    with Raw(cache.port) as client:
        client.send(("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path) * 200)
        for _ in range(200):
            assert client.answer().body == b"content"


def test_a_slow_upstream_keeps_no_worker_from_the_rest(cache, path):
    """40 clients wait for one URI; another's are answered meanwhile."""
    cache.origin.tell(path, reply("late", HOUR))
    cache.origin.tell(path + "-beside", reply("content", HOUR))
    with cache.origin.hold(path) as gate:
        waiting = [cache.raw(path) for _ in range(40)]
        gate.wait_arrived()
        assert cache.get(path + "-beside").text == "content"
        gate.open()
        for client in waiting:
            assert client.answer().body == b"late"
            client.close()
