"""Somebody else changed a file while we were away: theirs stays, ours is set aside whole, and a person chooses.

With real servers, and with a scripted one where it matters what exactly was asked of it.
"""

import pytest

from lab.files import KINDS
from lab.origin import Origin
from lab.wait import wait_until


def in_conflict(site, kind="lighttpd"):
    """A mirror whose queued write to /plan.txt has met somebody else's; (mirror, entry id)."""
    mirror = site.mirror(kind)
    mirror.server.write("/plan.txt", "common", mtime=1600000000)
    mirror.get("/plan.txt")
    mirror.go_offline()
    entry = mirror.queue("PUT", "/plan.txt", "ours")
    mirror.server.write("/plan.txt", "theirs!", mtime=1700000000)
    mirror.come_back()
    mirror.weir.wait_entry(entry, "conflict")
    return mirror, entry


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_wrote_stays_and_ours_is_set_aside(site, kind):
    mirror, entry = in_conflict(site, kind)
    weir, headquarters = mirror.weir, mirror.server
    assert headquarters.text("/plan.txt") == "theirs!"
    assert mirror.get("/plan.txt").text == "theirs!"            # the overlay has ended
    theirs = headquarters.ask("HEAD", "/plan.txt").headers
    code, out, err = weir.command("outbox", "show", entry)
    assert code == 0, err
    assert weir.entry(entry)["base_etag"].strip('"') in out and theirs["etag"].strip('"') in out and "conflict" in out
    code, out, _ = weir.command("outbox", "body", entry)
    assert code == 0 and out == "ours"
    assert weir.metric("weir_outbox_entries", service="files", state="conflict") == 1
    assert weir.metric("weir_outbox_deliveries_total", service="files", outcome="conflict") == 1
    assert weir.log_has("outbox_conflict", entry)
    mirror.crash()                                              # and it stays so
    assert weir.entry(entry)["state"] == "conflict" and headquarters.text("/plan.txt") == "theirs!"
    assert mirror.put("/plan.txt", "on top of theirs").status in (200, 204)         # it keeps nobody waiting


@pytest.mark.parametrize("kind", KINDS)
def test_ours_is_kept_when_a_person_says_so(site, kind):
    mirror, entry = in_conflict(site, kind)
    code, out, err = mirror.weir.command("outbox", "resolve", entry, "--keep", "ours")
    assert code == 0, err
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/plan.txt") == "ours" == mirror.get("/plan.txt").text
    assert mirror.weir.entry(entry)["state"] == "applied"


@pytest.mark.parametrize("kind", KINDS)
def test_theirs_is_kept_when_a_person_says_so(site, kind):
    mirror, entry = in_conflict(site, kind)
    code, out, err = mirror.weir.command("outbox", "resolve", entry, "--keep", "theirs")
    assert code == 0, err
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/plan.txt") == "theirs!" == mirror.get("/plan.txt").text
    assert mirror.weir.entry(entry)["state"] == "resolved"      # there is a record of it
    assert [s for s, m, t in mirror.server.writes("/plan.txt") if s < 300] == []


def theirs_of(mirror, entry):
    answer = mirror.weir.admin("GET", f"/api/v1/outbox/{entry}/theirs")
    assert answer.status == 200, answer
    return answer.json


@pytest.mark.parametrize("kind", KINDS)
def test_both_versions_can_be_looked_at(site, kind):
    mirror, entry = in_conflict(site, kind)
    theirs = theirs_of(mirror, entry)
    assert theirs["body"] == "theirs!" and theirs["body_bytes"] == 7 and theirs["status"] == 200
    assert theirs["known"] and not theirs["absent"]
    assert theirs["etag"] == mirror.server.ask("HEAD", "/plan.txt").headers["etag"]
    assert mirror.weir.admin("GET", f"/api/v1/outbox/{entry}/body").text == "ours"
    mirror.server.remove("/plan.txt")
    gone = theirs_of(mirror, entry)
    assert gone["absent"] and gone["status"] == 404
    mirror.go_offline()
    away = mirror.weir.admin("GET", f"/api/v1/outbox/{entry}/theirs")
    assert away.status == 503 and "gave no answer" in away.json["detail"]


def test_what_is_large_or_no_text_is_not_shown_as_one(site):
    mirror, entry = in_conflict(site)
    most = 256 * 1024
    mirror.server.write("/plan.txt", "x" * most)
    assert theirs_of(mirror, entry)["body"] == "x" * most
    mirror.server.write("/plan.txt", "x" * (most + 1))
    large = theirs_of(mirror, entry)
    assert large["body"] is None and "too large" in large["body_omitted"] and large["body_bytes"] == most + 1
    mirror.server.write("/plan.txt", b"\xff\xfe")
    assert theirs_of(mirror, entry)["body_omitted"] == "it is not a text"


def test_ours_is_based_on_what_they_have_when_the_person_chose(site):
    mirror, entry = in_conflict(site)
    mirror.door.hold(match="PUT /plan.txt")
    assert mirror.weir.entry_do(entry, "resolve", {"keep": "ours"}).status < 300
    mirror.door.wait_held()
    mirror.server.write("/plan.txt", "theirs, once more", mtime=1710000000)
    mirror.door.release()
    mirror.weir.wait_entry(entry, "conflict")
    assert mirror.server.text("/plan.txt") == "theirs, once more"


def tell(site, kind, cases, state):
    """All of these in one outage, each with a file of its own; every write has to end in this state. The mirror."""
    mirror = site.mirror(kind)
    for path, (before, _, _) in cases.items():
        if before:
            mirror.server.write(path, before, mtime=1600000000)
        if before is not False:
            assert mirror.get(path).status == (200 if before else 404)
    mirror.go_offline()
    entries = {path: mirror.queue(method, path, None if method == "DELETE" else "ours")
               for path, (_, method, _) in cases.items()}
    for path, (before, _, theirs) in cases.items():
        if theirs:
            mirror.server.write(path, theirs, mtime=1700000000)
        elif before:
            mirror.server.remove(path)
    mirror.come_back()
    for path, entry in entries.items():
        settled = mirror.weir.wait_entry_that(entry, lambda e: e["state"] not in ("queued", "sending"), path)
        assert settled["state"] == state, (path, settled)
    return mirror


CLASHES = {     # what was there when we looked, our write, what they did meanwhile
    "/changed-by-both": ("common", "PUT", "theirs!"),
    "/deleted-by-us-changed-by-them": ("common", "DELETE", "theirs!"),
    "/changed-by-us-deleted-by-them": ("common", "PUT", None),
    "/made-by-both": (None, "PUT", "theirs!"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_clash_is_noticed(site, kind):
    mirror = tell(site, kind, CLASHES, "conflict")
    for path, (_, _, theirs) in CLASHES.items():
        assert mirror.server.text(path) == theirs, path


NO_CLASHES = {  # what was there when we looked (False: we did not), our write, what they did meanwhile
    "/both-wrote-the-same": ("common", "PUT", "ours"),
    "/both-deleted-it": ("common", "DELETE", None),
    "/both-made-the-same": (None, "PUT", "ours"),
    "/never-looked-at": (False, "PUT", "theirs!"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_clash_is_no_conflict(site, kind):
    mirror = tell(site, kind, NO_CLASHES, "applied")
    for path, (_, method, _) in NO_CLASHES.items():
        assert mirror.server.text(path) == (None if method == "DELETE" else "ours"), path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_so_young_that_its_tag_was_weak(site, kind):
    mirror = site.mirror(kind)
    mirror.server.write("/same.txt", "common")
    mirror.server.write("/changed.txt", "common")
    assert [mirror.get("/%s.txt" % n).status for n in ("same", "changed")] == [200, 200]
    mirror.go_offline()
    same, changed = (mirror.queue("PUT", "/%s.txt" % n, "ours") for n in ("same", "changed"))
    mirror.server.write("/changed.txt", "theirs!", mtime=1700000000)
    mirror.come_back()
    mirror.weir.wait_entry(same, "applied")
    mirror.weir.wait_entry(changed, "conflict")
    assert (mirror.server.text("/same.txt"), mirror.server.text("/changed.txt")) == ("ours", "theirs!")


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_writes_never_clash_with_each_other(site, kind):
    mirror = site.mirror(kind)
    mirror.server.write("/a.txt", "common")
    mirror.get("/a.txt")
    mirror.go_offline()
    for i in range(4):
        mirror.queue("PUT", "/a.txt", "ours, %d" % i)
    mirror.queue("DELETE", "/a.txt")
    mirror.queue("PUT", "/a.txt", "and again")
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/a.txt") == "and again"
    assert mirror.weir.outbox_count("conflict", "held") == 0


def test_what_was_based_on_a_conflict_is_one_too(site):
    mirror = site.mirror("lighttpd")
    mirror.server.write("/plan.txt", "common", mtime=1600000000)
    mirror.get("/plan.txt")
    mirror.go_offline()
    entries = [mirror.queue("PUT", "/plan.txt", "ours, %d" % i) for i in range(3)]
    other = mirror.queue("PUT", "/other.txt", "an other")
    mirror.server.write("/plan.txt", "theirs!", mtime=1700000000)
    mirror.come_back()
    for entry in entries:
        mirror.weir.wait_entry(entry, "conflict")
    mirror.weir.wait_entry(other, "applied")
    assert mirror.server.text("/plan.txt") == "theirs!" == mirror.get("/plan.txt").text
    # A person says that ours is right: all of them, in their order.
    assert mirror.weir.entry_do(entries[0], "resolve", {"keep": "ours"}).status < 300
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/plan.txt") == "ours, 2"
    assert [s for s, _, _ in mirror.server.writes("/plan.txt") if s < 300] == [204, 204, 204]


def test_a_conflict_retried_is_one_again_until_they_take_theirs_back(site):
    mirror = site.mirror("nginx")
    mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.get("/a.txt")
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a.txt", "ours")
    mirror.server.write("/a.txt", "theirs!", mtime=1700000000)
    mirror.come_back()
    mirror.weir.wait_entry(entry, "conflict")
    assert mirror.weir.entry_do(entry, "retry").status < 300
    wait_until(lambda: len(mirror.weir.log_lines("outbox_conflict", entry)) == 2, what="the second conflict")
    mirror.server.write("/a.txt", "common", mtime=1600000000)
    mirror.weir.wait_entry(entry, "conflict")
    assert mirror.weir.entry_do(entry, "retry").status < 300
    mirror.weir.wait_entry(entry, "applied")
    assert mirror.server.text("/a.txt") == "ours"


# What exactly is asked of the upstream

def sent(mirror, method, path):
    return mirror.server.seen(path, method)[-1].headers


def test_the_precondition_is_the_strong_tag_of_what_was_seen(site):
    mirror = site.mirror(Origin(), preconditions="if_match")
    then = mirror.server.put("/a", "one")
    mirror.get("/a")
    mirror.get("/nothing")
    mirror.go_offline()
    for path in ("/a", "/nothing", "/never-seen"):
        mirror.queue("PUT", path, "ours")
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert sent(mirror, "PUT", "/a")["if-match"] == then.etag and "if-none-match" not in sent(mirror, "PUT", "/a")
    assert sent(mirror, "PUT", "/nothing")["if-none-match"] == "*"
    assert not {"if-match", "if-none-match", "if-unmodified-since"} & sent(mirror, "PUT", "/never-seen").keys()


@pytest.mark.parametrize("setting", ["auto", "if_unmodified_since"])
def test_without_tags_it_is_the_date(site, setting):
    origin = Origin()
    origin.tags = "none"
    mirror = site.mirror(origin, preconditions=setting)
    then = origin.put("/a", "one")
    origin.put("/b", "one")
    date = mirror.get("/a").headers["last-modified"]
    mirror.get("/b")
    mirror.go_offline()
    ours = mirror.queue("PUT", "/a", "ours")
    second = mirror.queue("PUT", "/a", "ours, once more")
    clash = mirror.queue("PUT", "/b", "ours")
    origin.put("/b", "theirs!")
    mirror.come_back()
    for entry, state in ((ours, "applied"), (second, "applied"), (clash, "conflict")):
        mirror.weir.wait_entry(entry, state)
    if setting == "if_unmodified_since":
        assert origin.seen("/a", "PUT")[0].headers["if-unmodified-since"] == date
    assert origin.text("/a") == "ours, once more" and origin.text("/b") == "theirs!" and then.modified


def test_where_preconditions_are_ignored_it_looks_first(site):
    origin = Origin()
    origin.honours = set()
    mirror = site.mirror(origin, preconditions="check_first")
    for path in ("/same", "/changed"):
        origin.put(path, "common")
        mirror.get(path)
    mirror.go_offline()
    origin.forget()
    same, changed = mirror.queue("PUT", "/same", "ours"), mirror.queue("PUT", "/changed", "ours")
    origin.put("/changed", "theirs!")
    mirror.come_back()
    mirror.weir.wait_entry(same, "applied")
    mirror.weir.wait_entry(changed, "conflict")
    assert [r.method for r in origin.seen("/same")][0] in ("GET", "HEAD") and origin.applied("/same") == [b"ours"]
    assert origin.count("/changed", "PUT") == 0


def test_auto_finds_out_that_preconditions_are_ignored(site):
    origin = Origin()
    origin.honours = set()
    mirror = site.mirror(origin)
    for i in range(3):
        origin.put("/%d" % i, "common")
        mirror.get("/%d" % i)
    mirror.go_offline()
    entries = [mirror.queue("PUT", "/%d" % i, "ours") for i in range(3)]
    for i in range(3):
        origin.put("/%d" % i, "theirs!")
    mirror.come_back()
    for i, entry in enumerate(entries):
        mirror.weir.wait_entry(entry, "conflict")
        assert origin.text("/%d" % i) == "theirs!"
    assert origin.applied() == []


def test_none_overwrites_because_the_operator_said_so(site):
    mirror = site.mirror(Origin(), preconditions="none")
    mirror.server.put("/a", "one")
    mirror.get("/a")
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a", "ours")
    mirror.server.put("/a", "theirs!")
    mirror.come_back()
    mirror.weir.wait_entry(entry, "applied")
    assert mirror.server.text("/a") == "ours"
    assert not {"if-match", "if-unmodified-since", "if-none-match"} & sent(mirror, "PUT", "/a").keys()


def test_an_upstream_that_tells_no_tag_after_a_put(site):
    """The second of two writes is based on the first, whose tag has to be asked for; it must not become a conflict."""
    origin = Origin()
    origin.answers_tag = False
    mirror = site.mirror(origin)
    origin.put("/a", "common")
    mirror.get("/a")
    mirror.go_offline()
    for i in range(3):
        mirror.queue("PUT", "/a", "ours, %d" % i)
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert origin.applied("/a") == [b"ours, 0", b"ours, 1", b"ours, 2"]
