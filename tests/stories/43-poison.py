"""An entry that the upstream will not have: the others go on, and nothing is lost or hidden.

Each is held, or waits, with its reason; a token that has run out pauses this mirror until there is another.
"""

import datetime
import glob
import json
import os
import sqlite3

import pytest

from lab.origin import Origin
from lab.wait import wait_until


@pytest.fixture
def mirror(site):
    return site.mirror(Origin())


def offline_with(mirror, *paths, method="PUT"):
    """Queue a write to each of these paths, and one to /good; their ids in this order."""
    mirror.go_offline()
    entries = [mirror.queue(method, path, "ours, " + path) for path in paths]
    return entries + [mirror.queue("PUT", "/good", "good")]


def assert_others_pass(mirror, good):
    mirror.weir.wait_entry(good, "applied")
    assert mirror.put("/fresh", "goes straight").status in (201, 204)


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_refusal_is_held_with_its_reason_and_holds_its_path_alone(mirror, status):
    origin, weir = mirror.server, mirror.weir
    bad, good = offline_with(mirror, "/bad")
    behind = mirror.queue("PUT", "/bad", "behind it")
    origin.say("/bad", status, {"Content-Type": "text/plain"}, "because of the moon", method="PUT")
    mirror.come_back()
    held = weir.wait_entry(bad, "held")
    assert held["last_status"] == status and str(status) in held["last_error"]
    assert_others_pass(mirror, good)
    assert weir.entry(behind)["state"] == "queued"                          # in order, so it waits
    assert mirror.put("/bad", "behind them").status == 202                  # online, too
    assert origin.count("/bad", "PUT") == 1                                 # it was not asked again
    code, out, _ = weir.command("outbox", "show", bad)
    assert code == 0 and str(status) in out and "because of the moon" in out
    assert weir.command("outbox", "body", bad)[1] == "ours, /bad"
    assert weir.metric("weir_outbox_entries", service="files", state="held") == 1
    assert weir.metric("weir_outbox_deliveries_total", service="files", outcome="held") == 1
    assert weir.log_has("outbox_held", bad)
    assert weir.health()["components"]["outbox"]["status"] != "unhealthy"

    origin.unsay()
    mirror.crash()                                                          # it is kept, and still held
    assert weir.entry(bad)["state"] == "held"
    assert weir.command("outbox", "retry", bad)[0] == 0
    weir.wait_outbox_empty()
    assert origin.applied("/bad") == [b"ours, /bad", b"behind it", b"behind them"]


def test_who_cannot_wait_behind_a_held_write_is_told_why(site):
    """The upstream is there: to wait for its return would be no advice."""
    mirror = site.mirror(Origin(), outbox={"max_body": "10KiB"})
    mirror.go_offline()
    away = mirror.put("/other", "mine", authorization="Bearer mine")
    assert away.status == 503 and "upstream is away" in away.text and "weir outbox ls" not in away.text
    held = mirror.queue("PUT", "/a", "first")
    mirror.server.say("/a", 400, method="PUT", times=1)
    mirror.come_back()
    mirror.weir.wait_entry(held, "held")
    refused = [(503, mirror.put("/a", "mine", authorization="Bearer mine")), (413, mirror.put("/a", b"x" * 20000)),
               (503, mirror.put("/a", "part", content_range="bytes 0-3/9"))]
    for status, answer in refused:
        assert answer.status == status and "weir outbox ls" in answer.text, answer.text
        assert "away" not in answer.text and "writes to the same path wait" in answer.text, answer.text


def test_every_other_refusal_is_held_too(mirror):
    statuses = [402, 404, 405, 406, 409, 410, 411, 414, 415, 416, 417, 418, 422, 423, 424, 426, 428, 431, 451]
    *bad, good = offline_with(mirror, *["/%d" % s for s in statuses])
    for status in statuses:
        mirror.server.say("/%d" % status, status, method="PUT")
    mirror.come_back()
    for status, entry in zip(statuses, bad):
        assert mirror.weir.wait_entry(entry, "held")["last_status"] == status
    assert_others_pass(mirror, good)


def test_a_refused_write_that_is_dropped_lets_those_behind_it_go(mirror):
    origin = mirror.server
    origin.put("/bad", "common")
    mirror.get("/bad")
    bad, good = offline_with(mirror, "/bad")
    behind = mirror.queue("PUT", "/bad", "behind it")
    origin.say("/bad", 400, method="PUT", times=1)
    mirror.come_back()
    mirror.weir.wait_entry(bad, "held")
    assert mirror.weir.command("outbox", "drop", bad)[0] == 0
    mirror.weir.wait_entry(behind, "applied")                               # based on what the dropped one was based on
    assert mirror.weir.entry(bad)["state"] == "dropped" and origin.applied("/bad") == [b"behind it"]


@pytest.mark.parametrize("how", ["500", "502", "cut"])
def test_one_that_fails_for_ever_waits_and_holds_up_nobody_else(mirror, how):
    origin, weir = mirror.server, mirror.weir
    bad, good = offline_with(mirror, "/bad")
    many = [mirror.queue("PUT", "/many/%d" % i, "%d" % i) for i in range(30)]
    if how == "cut":
        origin.cut("/bad", "before")
    else:
        origin.say("/bad", int(how))
    mirror.come_back()
    weir.wait_entry(good, "applied")
    for entry in many:
        weir.wait_entry(entry, "applied")
    waiting = weir.wait_entry_that(bad, lambda e: e["attempts"] >= 3, "three attempts")
    assert waiting["state"] in ("queued", "sending") and waiting["last_error"]
    assert waiting["last_status"] == (0 if how == "cut" else int(how))
    assert weir.metric("weir_outbox_deliveries_total", service="files", outcome="deferred") >= 3
    origin.unsay()
    weir.wait_outbox_empty()
    assert origin.applied("/bad") == [b"ours, /bad"]


# Credentials

def with_token(site, token="first", **options):
    path = site.file("token", token + "\n")
    mirror = site.mirror(Origin(), token_file=path, **options)
    return mirror, path


@pytest.mark.parametrize("status", [401, 407])
def test_a_token_that_has_run_out_pauses_the_mirror_until_there_is_another(site, status):
    mirror, path = with_token(site)
    origin, weir = mirror.server, mirror.weir
    assert mirror.put("/online", "x").status == 201
    assert origin.seen("/online")[-1].headers["authorization"] == "Bearer first"
    mirror.go_offline()
    entries = [mirror.queue("PUT", "/%d" % i, "%d" % i) for i in range(5)]
    for i in range(5):
        origin.say("/%d" % i, status, {"WWW-Authenticate": 'Bearer realm="come in"'}, method="PUT")
    mirror.come_back()
    wait_until(lambda: weir.log_has("outbox_paused"), what="the pause is told")
    states = [weir.entry(e) for e in entries]
    assert all(e["state"] == "queued" for e in states) and any(e["last_status"] == status for e in states)
    asked = sum(origin.count("/%d" % i, "PUT") for i in range(5))
    assert asked <= 5
    code, out, _ = weir.command("status")
    assert code == 0 and "pause" in out

    origin.unsay()
    new = path + ".new"
    with open(new, "w") as f:
        f.write("second\n")
    os.rename(new, path)
    weir.wait_outbox_empty()
    assert all(origin.seen("/%d" % i, "PUT")[-1].headers["authorization"] == "Bearer second" for i in range(5))
    assert weir.log_has("outbox_resumed")
    for secret in ("first", "second"):
        assert "Bearer " + secret not in weir.whole_log()


def test_a_reader_who_is_the_first_to_show_the_new_token_does_not_leave_the_queue_paused(site):
    """Online requests look at the token file as delivery does; whoever sees the change first, delivery goes on."""
    mirror, path = with_token(site)
    origin, weir = mirror.server, mirror.weir
    for turn in range(4):
        mirror.go_offline()
        entry = mirror.queue("PUT", "/%d" % turn, "ours")
        origin.say("/%d" % turn, 401, method="PUT")
        mirror.come_back()
        wait_until(lambda: len(weir.log_lines("outbox_paused")) == turn + 1, what="the pause is told")
        origin.unsay()
        with open(path + ".new", "w") as f:
            f.write("token %d\n" % turn)
        os.rename(path + ".new", path)
        wait_until(lambda: mirror.get("/read/%d" % turn).status and
                   origin.seen("/read/%d" % turn)[-1].headers["authorization"] == "Bearer token %d" % turn, what="it is shown")
        weir.wait_entry(entry, "applied", limit=20)


def test_the_operator_says_go_on(site):
    mirror, _ = with_token(site)
    mirror.go_offline()
    mirror.queue("PUT", "/a", "ours")
    mirror.server.say("/a", 401, method="PUT", times=1)
    mirror.come_back()
    wait_until(lambda: mirror.weir.log_has("outbox_paused"), what="the pause is told")
    assert mirror.weir.outbox_count("queued") == 1
    assert mirror.weir.command("outbox", "flush")[0] == 0
    mirror.weir.wait_outbox_empty()


def test_a_paused_mirror_pauses_no_other(site):
    first, second = Origin(), Origin()
    mirror = site.mirror(first)
    # A second mirror in the same daemon, with its own upstream.
    other = {"name": "others", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:%d" % second.port}
    weir = mirror.weir
    weir.stop()
    weir.configure(dict(weir.options, mirror=[*weir.options["mirror"], other]))
    weir.start()
    try:
        weir.switch_upstream(False, "files")
        weir.switch_upstream(False, "others")
        mirror.queue("PUT", "/a", "first")
        answer = weir.ask("PUT", "/a", None, b"second", service="others")
        assert answer.status == 202
        first.say("/a", 401, method="PUT", times=1)
        weir.switch_upstream(True, "files")
        wait_until(lambda: weir.log_has("outbox_paused"), what="the pause is told")
        weir.switch_upstream(True, "others")
        weir.wait_entry(answer.headers["weir-outbox-id"], "applied")
        assert second.applied("/a") == [b"second"] and first.applied("/a") == []
        assert [e["service"] for e in weir.outbox(state="queued")] == ["files"]
    finally:
        second.close()


# Redirects

REDIRECTS = (301, 302, 307, 308)


def test_redirects_within_the_upstream_are_followed_with_method_and_body(mirror):
    origin = mirror.server
    *moved, absolute, _ = offline_with(mirror, *["/%d" % s for s in REDIRECTS], "/absolute")
    for status in REDIRECTS:
        origin.say("/%d" % status, status, {"Location": "/new/%d" % status}, method="PUT")
    origin.say("/absolute", 307, {"Location": mirror.door.url + "/new/absolute"}, method="PUT")
    mirror.come_back()
    for status, entry in zip(REDIRECTS, moved):
        mirror.weir.wait_entry(entry, "applied")
        assert origin.applied("/new/%d" % status, "PUT") == [b"ours, /%d" % status]
    mirror.weir.wait_entry(absolute, "applied")
    assert origin.applied("/new/absolute", "PUT") == [b"ours, /absolute"]


def test_redirects_to_somebody_else_are_held(site):
    stranger = Origin()
    mirror, _ = with_token(site)
    try:
        *away, good = offline_with(mirror, *["/%d" % s for s in REDIRECTS])
        elsewhere = {"Location": "http://127.0.0.1:%d/new" % stranger.port}
        for status in REDIRECTS:
            mirror.server.say("/%d" % status, status, elsewhere, method="PUT")
        mirror.come_back()
        for status, entry in zip(REDIRECTS, away):
            held = mirror.weir.wait_entry(entry, "held")
            assert held["last_status"] == status and "127.0.0.1:%d" % stranger.port in held["last_error"]
        assert_others_pass(mirror, good)
        assert stranger.requests == []              # it has not seen the content, nor the token
    finally:
        stranger.close()


def test_a_redirect_in_a_circle_is_held(mirror):
    away, good = offline_with(mirror, "/old")
    mirror.server.say("/old", 307, {"Location": "/new"}, method="PUT")
    mirror.server.say("/new", 307, {"Location": "/old"}, method="PUT")
    mirror.come_back()
    assert mirror.weir.wait_entry(away, "held")["last_status"] == 307
    assert_others_pass(mirror, good)
    assert mirror.server.count("/old", "PUT") + mirror.server.count("/new", "PUT") <= 4


def test_a_303_after_a_post_means_that_it_was_taken(mirror):
    origin = mirror.server
    mirror.go_offline()
    entry = mirror.queue("POST", "/form", "x=1")
    origin.say("/form", 303, {"Location": "/thanks"}, method="POST")
    mirror.come_back()
    mirror.weir.wait_entry(entry, "applied")
    assert origin.count("/form", "POST") == 1 and origin.count("/thanks", "POST") == 0


def test_a_delete_of_what_is_gone_is_done(mirror):
    mirror.go_offline()
    entries = [mirror.queue("DELETE", "/%d" % status) for status in (404, 410)]
    for status in (404, 410):
        mirror.server.say("/%d" % status, status, method="DELETE")
    mirror.come_back()
    for entry in entries:
        mirror.weir.wait_entry(entry, "applied")


# Not now

def test_not_now_is_asked_again(mirror):
    statuses = (408, 425, 429, 500, 501, 502, 503, 504, 507)
    *slow, good = offline_with(mirror, *["/%d" % s for s in statuses])
    for status in statuses:
        mirror.server.say("/%d" % status, status, method="PUT", times=3)
    mirror.come_back()
    mirror.weir.wait_entry(good, "applied")
    for status, entry in zip(statuses, slow):
        assert mirror.weir.wait_entry(entry, "applied")["attempts"] == 4
        assert mirror.server.applied("/%d" % status) == [b"ours, /%d" % status]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_of_a_year_is_believed_for_an_hour_and_may_be_cut_short(mirror, form):
    weir = mirror.weir
    slow, good = offline_with(mirror, "/slow")
    year = "31536000" if form == "seconds" else "Fri, 31 Dec 2077 23:59:59 GMT"
    mirror.server.say("/slow", 429, {"Retry-After": year}, method="PUT", times=1)
    mirror.come_back()
    assert_others_pass(mirror, good)
    entry = weir.wait_entry_that(slow, lambda e: e["attempts"] == 1 and e["state"] == "queued", "it was deferred")
    assert entry["last_status"] == 429 and minutes(entry) <= 61
    assert minutes(entry) >= 30
    assert mirror.server.count("/slow", "PUT") == 1
    assert weir.command("outbox", "retry", slow)[0] == 0
    weir.wait_outbox_empty()


def minutes(entry):
    """How long after it was queued an entry's next attempt is."""
    at = [datetime.datetime.fromisoformat(entry[k].replace("Z", "+00:00")) for k in ("queued_at", "next_attempt_at")]
    return (at[1] - at[0]).total_seconds() / 60


def test_a_retry_after_is_obeyed(site):
    mirror = site.mirror(Origin(), outbox={"retry": {"first": "10ms", "max": "20ms"}})
    slow, _ = offline_with(mirror, "/slow")
    mirror.server.say("/slow", 503, {"Retry-After": "2"}, method="PUT", times=1)
    mirror.come_back()
    entry = mirror.weir.wait_entry_that(slow, lambda e: e["last_status"] == 503, "it was deferred")
    assert minutes(entry) * 60 >= 2
    mirror.weir.wait_outbox_empty()


# Damage

@pytest.mark.parametrize("damage", ["flipped", "cut short", "missing"])
def test_a_damaged_body_is_held_and_said_and_the_others_go(mirror, damage):
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    bad = mirror.queue("PUT", "/bad", b"x" * 300000)
    (path,) = weir.outbox_bodies()
    good = mirror.queue("PUT", "/good", b"y" * 300000)
    small = mirror.queue("PUT", "/small", "small")
    weir.kill9()
    if damage == "missing":
        os.unlink(path)
    else:
        with open(path, "r+b") as f:
            f.seek(150000)
            if damage == "flipped":
                f.write(b"z")
            else:
                f.truncate()
    weir.restart()
    mirror.come_back()
    weir.wait_entry(good, "applied")
    weir.wait_entry(small, "applied")
    held = weir.wait_entry(bad, "held")
    assert "damage" in held["last_error"] or "missing" in held["last_error"], held
    assert origin.applied("/bad") == [] and origin.read("/good") == b"y" * 300000
    code, out, err = weir.command("outbox", "body", bad)
    assert code == 1 and err                        # never half a body passed off as whole
    assert weir.health()["components"]["outbox"]["status"] != "healthy"
    assert mirror.put("/bad", "written anew").status in (201, 204)          # it keeps nobody waiting
    assert weir.command("outbox", "drop", bad)[0] == 0


def overwrite(database, old, new):
    """Replace bytes in whatever column holds them; how many rows did."""
    db, count = sqlite3.connect(database), 0
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for column in [row[1] for row in db.execute("PRAGMA table_info(%s)" % table)]:
            for row, value in db.execute("SELECT rowid, CAST(%s AS BLOB) FROM %s" % (column, table)).fetchall():
                if value and old in value:
                    db.execute("UPDATE %s SET %s = ? WHERE rowid = ?" % (table, column), (value.replace(old, new), row))
                    count += 1
    db.commit()
    db.close()
    return count


def test_a_damaged_record_is_set_aside_and_the_others_go(mirror):
    """A byte of one record is turned over behind weir's back, as a bad disk would."""
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    entries = [mirror.queue("PUT", "/%d" % i, "content number %d" % i) for i in range(5)]
    weir.stop()
    (database,) = glob.glob(os.path.join(weir.data_dir, "**", "outbox.db"), recursive=True)
    assert overwrite(database, b"content number 2", b"Content number 2") == 1
    weir.restart()
    mirror.come_back()
    for i in (0, 1, 3, 4):
        weir.wait_entry(entries[i], "applied")
    assert weir.wait_entry(entries[2], "held")["last_error"]
    assert origin.applied("/2") == []
    assert sorted(origin.applied()) == [b"content number %d" % i for i in (0, 1, 3, 4)]


def test_a_database_that_is_rubbish_is_set_aside_and_weir_starts(mirror):
    weir = mirror.weir
    mirror.go_offline()
    mirror.queue("PUT", "/a", "ours")
    weir.stop()
    (database,) = glob.glob(os.path.join(weir.data_dir, "**", "outbox.db"), recursive=True)
    for path in glob.glob(database + "-*"):
        os.unlink(path)
    with open(database, "r+b") as f:
        f.write(b"this is no database at all" * 100)
    weir.restart()
    mirror.queue("PUT", "/b", "afterwards")
    mirror.come_back()
    mirror.wait_text("/b", "afterwards")
    assert any("damaged" in p for p in glob.glob(os.path.join(weir.data_dir, "**"), recursive=True))
    assert weir.health()["components"]["outbox"]["status"] != "healthy"


def test_all_reasons_are_in_one_listing(mirror):
    refused, failing, good = offline_with(mirror, "/refused", "/failing")
    mirror.server.say("/refused", 403)
    mirror.server.say("/failing", 500)
    mirror.come_back()
    mirror.weir.wait_entry(refused, "held")
    mirror.weir.wait_entry(good, "applied")
    wait_until(lambda: mirror.weir.entry(failing)["attempts"] > 0)
    items = {e["id"]: e for e in json.loads(mirror.weir.command("outbox", "ls", "--json")[1])}
    assert "403" in items[refused]["last_error"] and "500" in items[failing]["last_error"]
    assert items[good]["state"] == "applied" and items[good]["last_error"] == ""
