"""The file servers that the mirror's stories are played with, without weir: what docs/upstreams.md says of them is so.

Each of lighttpd, nginx and Apache is asked through the fault proxy, as weir will do. At the end: the scripted upstream,
and the faults of writing.
"""

import email.utils
import threading

import pytest

from lab.faults import FaultProxy
from lab.files import KINDS
from lab.origin import Origin
from lab.wait import wait_until
from lab.wire import request

OLD = 1600000000
EARLIER, AT, LATER = (email.utils.formatdate(OLD + d, usegmt=True) for d in (-86400, 0, 86400))
JUDGES = ("lighttpd", "apache")


class Stage:
    """One file server behind a fault proxy."""

    def __init__(self, kind, directory, env):
        self.kind = kind
        self.server = KINDS[kind](directory, env)
        self.door = FaultProxy(self.server.port)

    def ask(self, method, target, headers=None, body=None):
        return request(self.door.port, method, target, headers, body)

    def close(self):
        self.door.close()
        self.server.close()


@pytest.fixture(params=list(KINDS))
def stage(request, tmp_path, site):
    place = Stage(request.param, tmp_path / request.param, site.env)
    yield place
    place.close()


def attempt(stage, method, headers, present=True):
    """One write with preconditions; returns (status, whether it was done). {etag} stands for the right one."""
    stage.server.tries = getattr(stage.server, "tries", 0) + 1
    name = "/try-%d.txt" % stage.server.tries
    if present:
        stage.server.write(name, "old", mtime=OLD)
        etag = stage.ask("HEAD", name).headers["etag"]
        headers = {k: v.replace("{etag}", etag) for k, v in headers.items()}
    status = stage.ask(method, name, headers, b"new" if method == "PUT" else None).status
    return status, stage.server.text(name) == ("new" if method == "PUT" else None)


DONE = (201, True), (204, True)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_preconditions_are_judged_as_the_page_says(stage, method):
    judges = stage.kind in JUDGES
    assert attempt(stage, method, {"If-Match": "{etag}"}) in DONE
    assert attempt(stage, method, {"If-Match": "*"}) in DONE
    assert attempt(stage, method, {"If-None-Match": '"other"'}) in DONE
    for headers in ({"If-Match": '"wrong"'}, {"If-None-Match": "*"}, {"If-None-Match": "{etag}"},
                    {"If-Unmodified-Since": EARLIER}, {"If-Match": "{etag}", "If-Unmodified-Since": EARLIER}):
        got = attempt(stage, method, headers)
        assert got == (412, False) if judges else got in DONE, (headers, got)
    for headers in ({"If-Unmodified-Since": AT}, {"If-Unmodified-Since": LATER}):
        got = attempt(stage, method, headers)
        assert got == (412, False) if stage.kind == "apache" else got in DONE, (headers, got)


def test_preconditions_on_what_is_not_there(stage):
    assert attempt(stage, "PUT", {"If-None-Match": "*"}, present=False) == (201, True)
    got = attempt(stage, "PUT", {"If-Match": "*"}, present=False)
    assert got == (412, False) if stage.kind in JUDGES else got == (201, True)
    for headers in ({}, {"If-Match": "*"}, {"If-Match": '"x"'}, {"If-None-Match": "*"}):
        assert attempt(stage, "DELETE", headers, present=False)[0] == 404


def test_validators_of_answers(stage):
    put = stage.ask("PUT", "/a.txt", body=b"one")
    assert put.status == 201 and ("etag" in put.headers) == (stage.kind == "lighttpd")
    fresh = stage.ask("HEAD", "/a.txt").headers
    assert fresh["etag"].startswith("W/") == (stage.kind == "apache") and "last-modified" in fresh
    wait_until(lambda: stage.ask("GET", "/a.txt").headers["etag"][0] == '"', what="the tag is strong")
    assert stage.ask("GET", "/a.txt").headers["etag"] == fresh["etag"].removeprefix("W/")
    assert "etag" not in stage.ask("GET", "/").headers


def test_a_weak_tag_matches_nothing_for_a_second_at_apache(stage):
    stage.ask("PUT", "/a.txt", body=b"one")
    tag = stage.ask("HEAD", "/a.txt").headers["etag"]
    assert stage.ask("PUT", "/a.txt", {"If-Match": tag}, b"two").status == (412 if stage.kind == "apache" else 204)


def test_two_versions_of_a_length_in_a_second_look_alike_to_nginx_alone(stage):
    stage.server.write("/a.txt", "one", mtime=OLD + 0.25)
    first = stage.ask("HEAD", "/a.txt").headers["etag"]
    stage.server.write("/a.txt", "two", mtime=OLD + 0.5)
    assert (stage.ask("HEAD", "/a.txt").headers["etag"] == first) == (stage.kind == "nginx")


def test_lighttpd_judges_writes_by_the_file_even_where_readers_see_what_it_remembers(stage):
    if stage.kind == "lighttpd":
        stage.server.stat_cache = "simple"
        stage.server.restart()
    stage.server.write("/a.txt", "old", mtime=OLD)
    tag = stage.ask("HEAD", "/a.txt").headers["etag"]
    stage.server.write("/a.txt", "somebody else's", mtime=OLD + 5)
    assert stage.ask("PUT", "/a.txt", {"If-Match": tag}, b"mine").status == (412 if stage.kind in JUDGES else 204)


def test_the_other_things_that_bite(stage):
    def status(method, target, headers=None, body=None):
        return stage.ask(method, target, headers, body if body is not None or method != "PUT" else b"x").status

    def by_kind(lighttpd, apache, nginx):
        return {"lighttpd": lighttpd, "apache": apache, "nginx": nginx}[stage.kind]

    assert status("PUT", "/no/a.txt") == by_kind(409, 409, 201)
    assert status("PUT", "/no/empty.txt", body=b"") == by_kind(500, 409, 201)
    stage.server.write("/file.txt", "x")
    assert status("PUT", "/file.txt/below.txt") == by_kind(409, 400, 500)
    assert status("PUT", "/part.txt", {"Content-Range": "bytes 0-0/1"}) == by_kind(400, 201, 501)
    assert status("MKCOL", "/made") == by_kind(201, 201, 409)
    stage.server.write("/full/a.txt", "a")
    assert status("POST", "/full/a.txt", body=b"x") == by_kind(200, 200, 405)
    assert status("DELETE", "/full") == by_kind(204, 204, 409)
    if stage.kind == "nginx":
        assert status("DELETE", "/full/") == 204
    assert stage.server.read("/full/a.txt") is None


def test_their_logs_and_folders_tell_what_was_done(stage):
    assert stage.ask("PUT", "/a.txt", body=b"one").status == 201
    assert stage.ask("POST", "/inbox/orders", body=b"an order").status == 204
    assert stage.ask("GET", "/a.txt?x=1").text == "one"
    assert stage.ask("DELETE", "/a.txt").status == 204
    expected = [(200, "GET", "/a.txt?x=1"), (201, "PUT", "/a.txt"), (204, "DELETE", "/a.txt"),
                (204, "POST", "/inbox/orders")]
    wait_until(lambda: sorted(stage.server.log()) == expected, what="the log tells all")
    assert sorted(stage.server.writes("/a.txt")) == [(201, "PUT", "/a.txt"), (204, "DELETE", "/a.txt")]
    assert stage.server.tree() == {}


def test_they_may_be_killed_and_started_on_their_port(stage):
    stage.ask("PUT", "/a.txt", body=b"one")
    stage.server.kill()
    with pytest.raises(OSError):
        stage.server.ask("GET", "/a.txt")
    stage.server.start()
    assert stage.ask("GET", "/a.txt").text == "one"
    wait_until(lambda: (200, "GET", "/a.txt") in stage.server.log(), what="the log goes on")


# Faults of writing

@pytest.fixture
def origin():
    actor = Origin()
    yield actor
    actor.close()


@pytest.fixture
def door(origin):
    proxy = FaultProxy(origin.port)
    yield proxy
    proxy.close()


def fails(port, method, target, body=None):
    with pytest.raises((OSError, EOFError)):
        request(port, method, target, None, body)
    return True


def test_a_lost_answer_is_one_to_a_write_that_was_done(origin, door):
    door.lose_answer(match="PUT ", times=1)
    assert request(door.port, "GET", "/a.txt").status == 404
    assert fails(door.port, "PUT", "/a.txt", b"one")
    assert origin.applied("/a.txt") == [b"one"]
    assert request(door.port, "PUT", "/a.txt", None, b"two").status == 204


def test_a_cut_upload_is_seen_by_nobody(origin, door):
    door.cut_upload(after=10, match="PUT /a.txt", times=1)
    assert fails(door.port, "PUT", "/a.txt", b"x" * 1000)
    assert origin.seen() == []
    assert request(door.port, "PUT", "/a.txt", None, b"x" * 1000).status == 201


def test_the_scripted_upstream_follows_its_script_in_order(origin, door):
    origin.say("/a", 500, times=2)
    origin.say("/a", 429, {"Retry-After": "1"}, method="PUT", times=1)
    origin.cut("/a", "before", times=1)
    origin.cut("/a", "after", times=1)
    assert request(door.port, "PUT", "/a", None, b"0").headers["retry-after"] == "1"
    assert [request(door.port, "GET", "/a").status for _ in range(2)] == [500, 500]
    assert fails(door.port, "PUT", "/a", b"1") and origin.applied("/a") == []
    assert fails(door.port, "PUT", "/a", b"2") and origin.applied("/a") == [b"2"]
    answer = request(door.port, "GET", "/a")
    assert (answer.status, answer.text, answer.headers["etag"]) == (200, "2", '"v1"')
    assert [(r.method, r.status) for r in origin.seen("/a")] == [("PUT", 429), ("GET", 500), ("GET", 500), ("PUT", 0),
                                                                 ("PUT", 0), ("GET", 200)]


def test_the_scripted_upstream_judges_preconditions_as_told(origin):
    def put(**headers):
        return request(origin.port, "PUT", "/a", {k.replace("_", "-"): v for k, v in headers.items()}, b"x").status

    then = origin.put("/a", "one")
    assert put(If_Match='"other"') == 412 and put(If_None_Match="*") == 412 and put(If_Unmodified_Since=EARLIER) == 412
    assert put(If_Match=then.etag) == 204 and put(If_Match=then.etag) == 412
    assert request(origin.port, "GET", "/a", {"If-None-Match": '"v2"'}).status == 304
    part = request(origin.port, "GET", "/a", {"Range": "bytes=-1"})
    assert (part.status, part.text, part.headers["content-range"]) == (206, "x", "bytes 0-0/1")
    origin.honours = set()
    assert put(If_Match='"other"') == 204 and put(If_None_Match="*") == 204


def test_requests_wait_at_a_gate(origin):
    origin.put("/a", "one")
    with origin.hold("/a") as gate:
        reader = threading.Thread(target=request, args=(origin.port, "GET", "/a"))
        reader.start()
        gate.wait_arrived()
        assert origin.seen("/a")[0].status == 0
    reader.join()
    assert origin.seen("/a")[0].status == 200


def test_the_scripted_upstream_may_be_killed_and_started(origin):
    origin.put("/a", "one")
    origin.kill()
    assert fails(origin.port, "GET", "/a")
    origin.start()
    assert request(origin.port, "GET", "/a").text == "one"
