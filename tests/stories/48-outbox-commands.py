"""`weir outbox` and the admin API behind it: every verb, in every state, with what it prints and its exit status."""

import json

import pytest

from lab.daemon import run_weir
from lab.origin import Origin
from lab.wait import wait_until

NOBODY = "018f3c9a2b7d4e10-000000"


class Scene:
    """One entry in each state, made from one outage. Their ids by the state's name."""

    def __init__(self, site):
        self.mirror = mirror = site.mirror(Origin())
        self.weir, self.origin = mirror.weir, mirror.server
        self.origin.put("/conflict", "common")
        self.origin.put("/resolved", "common")
        for path in ("/conflict", "/resolved"):
            mirror.get(path)
        mirror.go_offline()
        self.ids = {name: mirror.queue("PUT", "/" + name, "ours, " + name, content_type="text/plain")
                    for name in ("applied", "conflict", "resolved", "held", "dropped", "queued")}
        self.origin.put("/conflict", "theirs!")
        self.origin.put("/resolved", "theirs!")
        self.origin.say("/held", 403, {"Content-Type": "text/plain"}, "not you", method="PUT")
        self.origin.say("/queued", 429, {"Retry-After": "3600"}, method="PUT")
        self.origin.say("/dropped", 403, method="PUT")
        mirror.come_back()
        for name in ("applied", "conflict", "held"):
            self.weir.wait_entry(self.ids[name], name)
        self.weir.wait_entry(self.ids["dropped"], "held")
        self.weir.wait_entry(self.ids["resolved"], "conflict")
        wait_until(lambda: self.weir.entry(self.ids["queued"])["last_status"] == 429, what="the queued one is deferred")
        assert self.weir.entry_do(self.ids["dropped"], "drop").status < 300
        assert self.weir.entry_do(self.ids["resolved"], "resolve", {"keep": "theirs"}).status < 300


@pytest.fixture
def scene(site):
    return Scene(site)


@pytest.fixture(scope="module")
def still(shared_site):
    """A scene for those that only look, or are refused."""
    return Scene(shared_site)


def outbox(scene, *args):
    return scene.weir.command("outbox", *args)


# Looking

def test_ls_shows_all_that_there_is(still):
    code, out, err = outbox(still, "ls")
    assert code == 0 and not err
    lines = out.splitlines()
    for name, entry in still.ids.items():
        (line,) = [l for l in lines if entry in l]
        assert name in line.split() and "PUT" in line and "files" in line and "/" + name in line
    code, out, err = outbox(still, "ls", "--json")
    assert code == 0 and not err
    items = json.loads(out)
    assert [e["id"] for e in items] == list(still.ids.values()) == sorted(still.ids.values())
    assert items == still.weir.outbox()
    assert {e["id"]: e["state"] for e in items} == {entry: name for name, entry in still.ids.items()}


def test_an_empty_outbox_is_an_empty_list(site):
    weir = site.mirror(Origin()).weir
    assert json.loads(weir.command("outbox", "ls", "--json")[1]) == []
    code, out, err = weir.command("outbox", "ls")
    assert code == 0 and not err


@pytest.mark.parametrize("state", ["queued", "applied", "conflict", "held", "dropped", "resolved"])
def test_listings_can_be_narrowed_to_a_state(still, state):
    assert [e["id"] for e in still.weir.outbox(state=state)] == [still.ids[state]]
    code, out, _ = outbox(still, "ls", "--state", state, "--json")
    assert code == 0 and [e["id"] for e in json.loads(out)] == [still.ids[state]]


def test_listings_can_be_narrowed_to_a_service(still):
    assert len(still.weir.outbox(service="files")) == 6
    assert still.weir.outbox(service="nothing") == []
    code, out, _ = outbox(still, "ls", "--service", "files", "--state", "held", "--json")
    assert code == 0 and [e["id"] for e in json.loads(out)] == [still.ids["held"]]


def test_a_state_that_does_not_exist_is_said(still):
    answer = still.weir.admin("GET", "/api/v1/outbox?state=lost")
    assert answer.status == 400 and answer.headers["content-type"].startswith("application/problem+json")
    assert "queued" in answer.text                              # what there is
    code, out, err = outbox(still, "ls", "--state", "lost")
    assert code in (1, 2) and "lost" in err and not out


def test_pages(still):
    got, after = [], ""
    for _ in range(10):
        page = still.weir.admin("GET", "/api/v1/outbox?limit=2" + ("&after=" + after if after else "")).json
        assert len(page["items"]) <= 2
        got += [e["id"] for e in page["items"]]
        after = page["next"]
        if not after:
            break
    assert got == list(still.ids.values())
    assert still.weir.admin("GET", "/api/v1/outbox?limit=nine").status == 400


def test_show_tells_everything_about_one(still):
    code, out, err = outbox(still, "show", still.ids["held"])
    assert code == 0 and not err
    for word in (still.ids["held"], "held", "PUT", "/held", "files", "text/plain", "403", "not you"):
        assert word in out, word
    code, out, _ = outbox(still, "show", still.ids["conflict"], "--json")
    shown = json.loads(out)
    assert code == 0 and shown == still.weir.entry(still.ids["conflict"])
    assert shown["base_etag"] == '"v1"'
    assert still.origin.store["/conflict"].etag in json.dumps(shown).replace('\\"', '"')


def test_body_gives_the_very_bytes(site):
    mirror = site.mirror(Origin())
    mirror.go_offline()
    content = bytes(range(256)) * 700
    large = mirror.queue("PUT", "/large", content, content_type="application/x-thing")
    none = mirror.queue("DELETE", "/none")
    answer = mirror.weir.admin("GET", "/api/v1/outbox/%s/body" % large)
    assert answer.status == 200 and answer.body == content
    assert answer.headers["content-type"] in ("application/x-thing", "application/octet-stream")
    assert answer.headers.get("x-content-type-options") == "nosniff"        # somebody else's bytes on our page's origin
    part = mirror.queue("PUT", "/text", "some text")
    assert mirror.weir.command("outbox", "body", part) == (0, "some text", "")
    answer = mirror.weir.admin("GET", "/api/v1/outbox/%s/body" % none)
    assert answer.status in (200, 204, 404) and answer.body == b"" or answer.status == 404


# Steering

def test_retry_of_a_held_one_and_of_a_deferred_one(scene):
    scene.origin.unsay()
    for name in ("held", "queued"):
        code, out, err = outbox(scene, "retry", scene.ids[name])
        assert code == 0, err
        scene.weir.wait_entry(scene.ids[name], "applied")
    assert scene.origin.text("/held") == "ours, held"


def test_drop_removes_it_from_the_queue_and_keeps_a_record(scene):
    code, out, err = outbox(scene, "drop", scene.ids["queued"])
    assert code == 0, err
    assert scene.weir.entry(scene.ids["queued"])["state"] == "dropped"
    scene.origin.unsay()
    assert scene.mirror.put("/queued", "straight").status in (201, 204)
    assert scene.origin.applied("/queued") == [b"straight"]


def test_flush_makes_all_that_waits_due(scene):
    scene.origin.unsay()
    code, out, err = outbox(scene, "flush")
    assert code == 0, err
    scene.weir.wait_entry(scene.ids["queued"], "applied")
    assert scene.weir.entry(scene.ids["held"])["state"] == "held"              # not that: it needs a decision
    assert scene.weir.admin("POST", "/api/v1/outbox/flush").status < 300


def test_resolve_of_what_is_held(scene):
    assert outbox(scene, "resolve", scene.ids["held"], "--keep", "theirs")[0] == 0
    assert scene.weir.entry(scene.ids["held"])["state"] == "resolved"
    assert outbox(scene, "resolve", scene.ids["conflict"], "--keep", "ours")[0] == 0
    scene.weir.wait_entry(scene.ids["conflict"], "applied")
    assert scene.origin.text("/conflict") == "ours, conflict"


VERBS = (("retry", None), ("resolve", {"keep": "ours"}), ("resolve", {"keep": "theirs"}), ("drop", None))
SETTLED = ("applied", "dropped", "resolved")


@pytest.mark.parametrize("state", SETTLED)
def test_what_is_settled_stays_settled(still, state):
    entry = still.ids[state]
    for verb, body in VERBS:
        answer = still.weir.entry_do(entry, verb, body)
        assert answer.status in (409, 422), (verb, answer)
        assert answer.headers["content-type"].startswith("application/problem+json") and state in answer.text
    for args in (["retry", entry], ["drop", entry], ["resolve", entry, "--keep", "ours"]):
        code, out, err = outbox(still, *args)
        assert code == 1 and state in err and not out, (args, code, out, err)
    assert still.weir.entry(entry)["state"] == state


def test_one_that_is_being_sent_is_left_alone(site):
    mirror = site.mirror(Origin())
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a", "ours")
    with mirror.server.hold("/a"):
        mirror.come_back()
        mirror.weir.wait_entry(entry, "sending")
        for verb, body in VERBS:
            answer = mirror.weir.entry_do(entry, verb, body)
            assert answer.status == 409 and "sent" in answer.text, (verb, answer)
        for args in (["retry", entry], ["drop", entry], ["resolve", entry, "--keep", "theirs"]):
            code, out, err = mirror.weir.command("outbox", *args)
            assert code == 1 and "sent" in err, (args, code, out, err)
        assert mirror.weir.entry(entry)["state"] == "sending"
    mirror.weir.wait_entry(entry, "applied")


@pytest.mark.parametrize("entry", [NOBODY, "no-such-entry", "../status", "%2e%2e", "'; DROP TABLE entries; --"])
def test_unknown_ids(still, entry):
    for verb in ("show", "body", "retry", "drop"):
        code, out, err = outbox(still, verb, entry)
        assert code == 1 and entry in err and not out, (verb, code, out, err)
    code, out, err = outbox(still, "resolve", entry, "--keep", "ours")
    assert code == 1 and entry in err


@pytest.mark.parametrize("method,path", [("GET", ""), ("GET", "/body"), ("POST", "/retry"), ("POST", "/resolve"),
                                         ("DELETE", "")])
def test_unknown_ids_over_the_api(still, method, path):
    body = {"keep": "ours"} if "resolve" in path else None
    answer = still.weir.admin(method, "/api/v1/outbox/%s%s" % (NOBODY, path), body)
    assert answer.status == 404 and answer.headers["content-type"].startswith("application/problem+json"), answer


@pytest.mark.parametrize("body", [None, {}, {"keep": "both"}, {"keep": 1}, ["ours"]], ids=repr)
def test_resolve_must_say_whose(still, body):
    answer = still.weir.entry_do(still.ids["conflict"], "resolve", body)
    assert answer.status in (400, 422) and "ours" in answer.text and "theirs" in answer.text
    assert still.weir.entry(still.ids["conflict"])["state"] == "conflict"


def test_ours_cannot_be_kept_while_nobody_can_ask_what_theirs_is(scene):
    scene.mirror.go_offline()
    answer = scene.weir.entry_do(scene.ids["conflict"], "resolve", {"keep": "ours"})
    assert answer.status in (502, 503, 504) and scene.weir.entry(scene.ids["conflict"])["state"] == "conflict"
    assert outbox(scene, "resolve", scene.ids["conflict"], "--keep", "ours")[0] == 1
    assert outbox(scene, "resolve", scene.ids["conflict"], "--keep", "theirs")[0] == 0      # nobody has to be asked


@pytest.mark.parametrize("args", [(), ("dance",), ("show",), ("body",), ("retry",), ("drop",), ("resolve",),
                                  ("resolve", NOBODY), ("resolve", NOBODY, "--keep"),
                                  ("resolve", NOBODY, "--keep", "both"), ("ls", "--what")], ids=" ".join)
def test_usage_errors_are_2(site, args):
    code, out, err = run_weir("outbox", *args, env=dict(site.env, WEIR_ADMIN="127.0.0.1:1"), cwd=site.dir)
    assert code == 2 and err and not out, (code, out, err)


def test_without_a_daemon_commands_exit_with_3(site):
    for args in (("ls",), ("ls", "--json"), ("show", NOBODY), ("body", NOBODY), ("retry", NOBODY), ("drop", NOBODY),
                 ("resolve", NOBODY, "--keep", "ours"), ("flush",)):
        code, out, err = run_weir("outbox", *args, env=dict(site.env, WEIR_ADMIN="127.0.0.1:1"), cwd=site.dir)
        assert code == 3 and "127.0.0.1:1" in err and not out, (args, code, out, err)


@pytest.mark.parametrize("method,path", [("PUT", "/api/v1/outbox"), ("POST", "/api/v1/outbox"),
                                         ("GET", "/api/v1/outbox/flush"), ("PUT", "/api/v1/outbox/" + NOBODY)])
def test_other_methods_are_not_allowed(still, method, path):
    assert still.weir.admin(method, path).status in (404, 405)


def test_steering_needs_the_token(site):
    token = site.file("token", "let-me-in\n")
    mirror = site.mirror(Origin(), weir={"admin": {"listen": "127.0.0.1:0", "token_file": token}})
    weir, bearer = mirror.weir, {"Authorization": "Bearer let-me-in"}
    assert weir.admin("GET", "/api/v1/outbox").status == 401
    assert weir.admin("POST", "/api/v1/outbox/flush").status == 401
    assert weir.admin("GET", "/api/v1/outbox", headers=bearer).json["items"] == []


def test_web_pages_of_others_cannot_steer(still):
    foreign = {"Origin": "http://evil.example"}
    answer = still.weir.admin("DELETE", "/api/v1/outbox/" + still.ids["held"], headers=foreign)
    assert answer.status == 403 and still.weir.entry(still.ids["held"])["state"] == "held"


def test_status_tells_of_the_queue(still):
    code, out, _ = still.weir.command("status")
    assert code == 0 and "held" in out and "conflict" in out
    assert "outbox" in json.dumps(still.weir.status())


def test_settled_entries_are_listed_for_as_long_as_configured(site):
    mirror = site.mirror(Origin(), outbox={"keep_settled": "1s"})
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a", b"x" * 100000)
    held = mirror.queue("PUT", "/held", "held")
    mirror.server.say("/held", 403)
    mirror.come_back()
    mirror.weir.wait_entry(held, "held")
    wait_until(lambda: all(e["id"] != entry for e in mirror.weir.outbox()), limit=60, what="it is listed no more")
    assert [e["id"] for e in mirror.weir.outbox()] == [held]            # what is not settled stays, however old
