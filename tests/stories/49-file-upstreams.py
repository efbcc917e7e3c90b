"""The file servers that the mirror's stories are played with, without weir: what docs/upstreams.md says of them is so.

Each of lighttpd, nginx and Apache is asked through the fault proxy, as weir will do.
"""

import email.utils
import time

import pytest

from lab.faults import FaultProxy
from lab.files import KINDS
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
    strong = wait_until(lambda: (lambda tag: tag if tag[0] == '"' else None)(stage.ask("GET", "/a.txt").headers["etag"]))
    assert strong == fresh["etag"].removeprefix("W/")
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
    assert stage.server.log() == [(201, "PUT", "/a.txt"), (204, "POST", "/inbox/orders"), (200, "GET", "/a.txt?x=1"),
                                  (204, "DELETE", "/a.txt")]
    assert stage.server.writes("/a.txt") == [(201, "PUT", "/a.txt"), (204, "DELETE", "/a.txt")]
    assert stage.server.tree() == {}


def test_they_may_be_killed_and_started_on_their_port(stage):
    stage.ask("PUT", "/a.txt", body=b"one")
    stage.server.kill()
    with pytest.raises(OSError):
        stage.server.ask("GET", "/a.txt")
    stage.server.start()
    assert stage.ask("GET", "/a.txt").text == "one"
    assert stage.server.log()[-1] == (200, "GET", "/a.txt")
