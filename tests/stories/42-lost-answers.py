"""The upstream did what we asked and its answer got lost: nothing is done twice, nothing is a false conflict, and where
nobody can know, a person is asked.
"""

import http.client
import threading

import pytest

from lab.files import KINDS
from lab.origin import Origin
from lab.wait import wait_until


@pytest.mark.parametrize("how", ["new", "changed"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_to_a_delivered_put_is_lost(site, kind, how):
    mirror = site.mirror(kind)
    if how == "changed":
        mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.get("/a.txt")
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a.txt", "ours")
    second = mirror.queue("PUT", "/a.txt", "ours, once more")
    mirror.server.start()
    mirror.door.lose_answer(match="PUT /a.txt", times=1)
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/a.txt") == "ours, once more"
    assert [mirror.weir.entry(e)["state"] for e in (entry, second)] == ["applied", "applied"]
    assert mirror.weir.metric("weir_outbox_deliveries_total", outcome="conflict") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_to_a_delivered_delete_is_lost(site, kind):
    mirror = site.mirror(kind)
    mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.get("/a.txt")
    mirror.go_offline()
    entry = mirror.queue("DELETE", "/a.txt")
    mirror.server.start()
    mirror.door.lose_answer(match="DELETE /a.txt", times=1)
    mirror.weir.wait_outbox_empty()
    assert mirror.weir.entry(entry)["state"] == "applied" and mirror.server.read("/a.txt") is None


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_else_came_after_a_lost_answer(site, kind):
    """Ours was applied, its answer lost, and then they changed it: theirs stays."""
    mirror = site.mirror(kind)
    mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.get("/a.txt")
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a.txt", "ours")
    mirror.server.start()
    mirror.door.hold_answer(match="PUT /a.txt")
    mirror.door.wait_held()
    mirror.server.write("/a.txt", "theirs!", mtime=1700000000)
    mirror.door.refuse()                # what was open is cut
    mirror.door.pass_all()
    mirror.weir.wait_entry(entry, "conflict")
    assert mirror.server.text("/a.txt") == "theirs!"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_weir_is_killed_between_the_upstreams_deed_and_its_answer(site, method):
    origin = Origin()
    mirror = site.mirror(origin)
    origin.put("/a", "common")
    mirror.get("/a")
    mirror.go_offline()
    entry = mirror.queue(method, "/a", None if method == "DELETE" else "ours")
    origin.start()
    mirror.door.hold_answer(match=method + " /a")
    mirror.door.wait_held()
    mirror.weir.kill9()
    mirror.door.release()
    mirror.weir.restart()
    mirror.weir.wait_outbox_empty()
    assert mirror.weir.entry(entry)["state"] == "applied"
    assert origin.applied("/a") == [None if method == "DELETE" else b"ours"]


# Writes while the line is there

@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_to_a_put_on_its_way_is_lost(site, kind):
    """Repeating it is safe, so weir takes it over; and it is not in conflict with itself."""
    mirror = site.mirror(kind)
    mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.get("/a.txt")
    mirror.door.lose_answer(match="PUT /a.txt", times=1)
    answer = mirror.put("/a.txt", "ours")
    assert answer.status in (202, 200, 201, 204), answer
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/a.txt") == "ours" == mirror.get("/a.txt").text


@pytest.mark.parametrize("size", [2000, 2000000], ids=["small", "large"])
def test_a_put_is_cut_in_the_middle_of_its_body(site, size):
    mirror = site.mirror("nginx")
    content = b"x" * size + b"the end"
    mirror.door.cut_upload(after=1000, match="PUT /a.bin", times=1)
    answer = mirror.put("/a.bin", content)
    assert answer.status in (202, 200, 201, 204), answer
    mirror.weir.wait_outbox_empty()
    assert mirror.server.read("/a.bin") == content


def test_a_put_while_the_upstream_says_503_is_queued(site):
    mirror = site.mirror(Origin())
    mirror.server.say("/a", 503, {"Retry-After": "0"}, times=1)
    assert mirror.put("/a", "ours").status == 202
    mirror.weir.wait_outbox_empty()
    assert mirror.server.applied("/a") == [b"ours"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_on_its_way_whose_answer_is_lost_is_an_error_that_says_so(site, method):
    origin = Origin()
    mirror = site.mirror(origin)
    origin.put("/orders", "")
    origin.cut("/orders", "after", times=1)
    answer = mirror.ask(method, "/orders", "an order")
    assert answer.status in (502, 504), answer
    assert answer.headers["content-type"].startswith("application/problem+json") and "unknown" in answer.text
    assert mirror.weir.outbox(state="queued") == []
    assert origin.applied("/orders") == [b"an order"]


BODIES = {"with a body": "an order", "empty": "", "chunked and empty": b"0\r\n\r\n"}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_on_a_connection_that_was_used_before_is_not_sent_twice(site, method, body):
    """HTTP libraries like to repeat a request whose connection ends without an answer when it had served others before:
    they take it for one that was closed while idle."""
    mirror = site.mirror(Origin())
    origin = mirror.server
    origin.put("/orders", "")
    for _ in range(3):
        assert mirror.put("/warm-up", "x").status in (201, 204)
    origin.cut("/orders", "after", method, times=1)
    headers = {"Transfer-Encoding": "chunked"} if "chunked" in body else {}
    answer = mirror.ask(method, "/orders", BODIES[body], headers)
    assert answer.status in (502, 504) and "unknown" in answer.text
    assert origin.count("/orders", method) == 1


@pytest.mark.parametrize("body", ["an order", ""], ids=["with a body", "empty"])
def test_a_post_delivered_on_a_connection_that_was_used_before_is_not_sent_twice(site, body):
    mirror = site.mirror(Origin())
    origin = mirror.server
    mirror.go_offline()
    mirror.queue("PUT", "/first", "x")
    order = mirror.queue("POST", "/orders", body)
    with origin.hold("/orders") as gate:
        origin.cut("/orders", "after", "POST", times=1)
        mirror.come_back()
        gate.wait_arrived()
        wait_until(lambda: origin.applied("/first"), what="the other has come, on its connection")
    mirror.weir.wait_entry(order, "held")
    assert origin.count("/orders", "POST") == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_that_nobody_can_have_seen_is_queued(site, method):
    origin = Origin()
    mirror = site.mirror(origin)
    mirror.door.refuse()
    mirror.queue(method, "/orders", "an order")
    mirror.line_is_back()
    mirror.weir.wait_outbox_empty()
    assert origin.applied("/orders") == [b"an order"]


# What nobody can know

def of_unknown_outcome(site, method="POST", when="after", **options):
    """A mirror with a queued write whose answer was lost; (mirror, entry id)."""
    mirror = site.mirror(Origin(), **options)
    mirror.go_offline()
    entry = mirror.queue(method, "/orders", "an order")
    mirror.server.cut("/orders", when, method, times=1)
    mirror.come_back()
    return mirror, entry


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_delivered_post_whose_answer_is_lost_is_held(site, method, when):
    mirror, entry = of_unknown_outcome(site, method, when)
    held = mirror.weir.wait_entry(entry, "held")
    assert "outcome_unknown" in held["last_error"]
    assert mirror.server.count("/orders", method) == 1
    assert mirror.weir.log_has("outbox_held", entry)
    code, out, _ = mirror.weir.command("outbox", "ls")
    assert code == 0 and entry in out and "held" in out
    mirror.crash()
    assert mirror.weir.entry(entry)["state"] == "held" and mirror.server.count("/orders", method) == 1


def test_the_person_says_send_it_again(site):
    mirror, entry = of_unknown_outcome(site)
    mirror.weir.wait_entry(entry, "held")
    assert mirror.weir.command("outbox", "retry", entry)[0] == 0
    mirror.weir.wait_entry(entry, "applied")
    first, second = mirror.server.seen("/orders", "POST")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert mirror.server.applied("/orders") == [b"an order", b"an order"]


@pytest.mark.parametrize("verb,state", [(["drop"], "dropped"), (["resolve", "--keep", "theirs"], "resolved")],
                         ids=["drop", "theirs"])
def test_the_person_says_it_has_arrived(site, verb, state):
    mirror, entry = of_unknown_outcome(site)
    mirror.weir.wait_entry(entry, "held")
    code, _, err = mirror.weir.command("outbox", verb[0], entry, *verb[1:])
    assert code == 0, err
    mirror.weir.wait_outbox_empty()
    assert mirror.weir.entry(entry)["state"] == state
    assert mirror.server.applied("/orders") == [b"an order"]


def test_repeat_unsafe_sends_again_with_the_same_key(site):
    mirror, entry = of_unknown_outcome(site, outbox={"repeat_unsafe": True, "retry": {"first": "50ms", "max": "400ms"}})
    mirror.weir.wait_entry(entry, "applied")
    first, second = mirror.server.seen("/orders", "POST")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_killed_while_a_post_is_on_its_way_it_is_held_afterwards(site):
    origin = Origin()
    mirror = site.mirror(origin)
    mirror.go_offline()
    entry = mirror.queue("POST", "/orders", "an order")
    again = mirror.queue("PUT", "/other", "nothing unsafe")
    origin.start()
    mirror.door.hold_answer(match="POST /orders")
    mirror.door.wait_held()
    mirror.weir.kill9()
    mirror.door.release()
    mirror.weir.restart()
    assert "outcome_unknown" in mirror.weir.wait_entry(entry, "held")["last_error"]
    mirror.weir.wait_entry(again, "applied")
    assert origin.applied("/orders") == [b"an order"]


def test_killed_while_a_post_waits_it_is_sent_afterwards(site):
    mirror = site.mirror(Origin())
    mirror.go_offline()
    mirror.queue("POST", "/orders", "an order")
    mirror.weir.kill9()
    mirror.server.start()
    mirror.door.pass_all()
    mirror.weir.restart()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.applied("/orders") == [b"an order"]


@pytest.mark.parametrize("how", ["online", "delivered"])
def test_a_post_whose_answer_is_cut_in_the_middle_is_not_sent_twice(site, how):
    """Its head said 200: it was done."""
    mirror = site.mirror(Origin())
    origin = mirror.server
    if how == "online":
        mirror.door.cut(after=2, match="POST /orders")
        try:
            assert mirror.post("/orders", "an order").status in (502, 504)
        except (OSError, http.client.HTTPException):
            pass                        # the client's answer is cut as well
    else:
        mirror.go_offline()
        entry = mirror.queue("POST", "/orders", "an order")
        origin.start()
        mirror.door.cut(after=2, match="POST /orders")
        mirror.weir.wait_entry_that(entry, lambda e: e["state"] in ("applied", "held"), "an end")
    assert origin.applied("/orders") == [b"an order"]


def test_a_put_too_large_for_the_outbox_is_refused_when_its_way_is_cut(site):
    mirror = site.mirror(Origin(), outbox={"max_body": "10KiB"})
    mirror.door.cut_upload(after=50000, match="PUT /large", times=1)
    answer = mirror.put("/large", b"x" * 100000)
    assert answer.status in (413, 502, 504), answer
    assert mirror.weir.outbox() == [] and mirror.server.seen("/large") == []
    assert mirror.put("/large", b"x" * 100000).status == 201


# Order

def test_online_writes_to_a_path_wait_behind_its_queue(site):
    mirror = site.mirror(Origin())
    origin, weir = mirror.server, mirror.weir
    mirror.go_offline()
    first = mirror.queue("PUT", "/a", "first")
    origin.say("/a", 425, method="PUT")                         # not yet
    mirror.come_back()
    second = mirror.queue("PUT", "/a?x=1", "second")            # the key knows no query
    third = mirror.queue("POST", "/a", "third")
    assert mirror.put("/b", "goes straight").status == 201
    origin.unsay()
    weir.wait_outbox_empty()
    assert origin.applied("/a") == [b"first", b"second", b"third"]
    assert [weir.entry(e)["state"] for e in (first, second, third)] == ["applied"] * 3
    assert mirror.put("/a", "goes straight, too").status == 204


def test_a_write_that_waited_for_a_worker_does_not_overtake_what_was_queued_meanwhile(site):
    """It came while nothing of its path waited; when its turn comes, something does."""
    mirror = site.mirror(Origin(), weir={"limits": {"workers": 4}})
    origin, weir, answers = mirror.server, mirror.weir, {}

    def put(path, body):
        answers[path, body] = mirror.put(path, body)

    with origin.hold("/slow") as gate:
        threads = [threading.Thread(target=put, args=("/slow", "%d" % i)) for i in range(4)]
        for t in threads:
            t.start()
        gate.wait_arrived()                             # whoever carries writes to the upstream is busy
        before = weir.metric("weir_http_connections")
        threads.append(threading.Thread(target=put, args=("/a", "came first")))
        threads[-1].start()
        wait_until(lambda: weir.metric("weir_http_connections") > before, what="it is here, too")
        for _ in range(20):
            mirror.get("/weather-check")                # by now the front has read it
        weir.switch_upstream(False, "files")
        held = mirror.queue("PUT", "/a", "was queued")
        origin.say("/a", 400, method="PUT", times=1)
        weir.switch_upstream(True, "files")
        weir.wait_entry(held, "held")
    for t in threads:
        t.join()
    assert answers["/a", "came first"].status == 202
    assert [r.body for r in origin.seen("/a", "PUT")] == [b"was queued"]
    weir.command("outbox", "retry", held)
    weir.wait_outbox_empty()
    assert origin.applied("/a") == [b"was queued", b"came first"]


def test_a_folders_writes_are_in_order_with_all_below_it(site):
    mirror = site.mirror(Origin())
    origin = mirror.server
    mirror.go_offline()
    mirror.queue("PUT", "/dir/one", "one")
    mirror.queue("PUT", "/dir/deep/two", "two")
    mirror.queue("POST", "/dir/", "the folder")
    mirror.queue("PUT", "/dir/one", "one, later")
    mirror.queue("PUT", "/directory", "not in it")
    with origin.hold("/dir/deep/two") as gate:
        mirror.come_back()
        gate.wait_arrived()
        wait_until(lambda: origin.applied("/directory"), what="what is not in the folder waits for nothing")
        assert origin.count("/dir/") == 0
        assert mirror.put("/dir/three", "three").status == 202  # waits behind the folder, online
        assert mirror.put("/elsewhere/three", "three").status == 201
    mirror.weir.wait_outbox_empty()
    order = [(m, p, b) for m, p, b, _ in origin.changes if p.startswith("/dir/")]
    at = order.index(("POST", "/dir/", b"the folder"))
    assert set(order[:at]) == {("PUT", "/dir/one", b"one"), ("PUT", "/dir/deep/two", b"two")}
    assert set(order[at + 1:]) == {("PUT", "/dir/one", b"one, later"), ("PUT", "/dir/three", b"three")}


def test_a_deferred_write_is_not_overtaken_in_a_long_row(site):
    mirror = site.mirror(Origin())
    origin = mirror.server
    mirror.go_offline()
    for i in range(10):
        mirror.queue("PUT", "/a", "%d" % i)
    origin.say("/a", 503, method="PUT", times=2)
    origin.cut("/a", "before", "PUT", times=1)
    origin.cut("/a", "after", "PUT", times=1)
    origin.say("/a", 429, {"Retry-After": "0"}, method="PUT", times=1)
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert origin.applied("/a", "PUT") == [b"0"] + [b"%d" % i for i in range(10)]     # one was done, and not heard of


def test_encoded_paths_are_one_key(site):
    """%61 is an unreserved letter in disguise; %2F is not a slash."""
    mirror = site.mirror(Origin())
    origin = mirror.server
    mirror.go_offline()
    mirror.queue("PUT", "/a", "first")
    origin.say("/a", 425, method="PUT")
    mirror.come_back()
    mirror.queue("PUT", "/%61", "second")
    assert mirror.put("/b%2Fc", "goes straight").status == 201
    origin.unsay()
    mirror.weir.wait_outbox_empty()
    assert [(p, b) for m, p, b, _ in origin.changes if m == "PUT" and p != "/b%2Fc"] == [("/a", b"first"),
                                                                                       ("/%61", b"second")]
