"""A hub over PostgreSQL: the server is killed, stands still, refuses, runs out of room; hubs share it; nothing is lost or done twice."""

import collections
import os
import random
import subprocess
import threading
import time

import pytest

from lab import postgres
from lab.clock import WallClock
from lab.daemon import binary, run_weir
from lab.wait import wait_until


@pytest.fixture
def hub(site, server):
    return site.hub(database=server.database(), database_timeout="2s")


def names(session):
    return [e["name"] for e in session.now()["events"]]


def ready(hub):
    return hub.ask("GET", "/readyz").status == 200


# Ingest

def send_batches(hubs, identity, wanted, failed):
    """Sends events 1 to wanted of a session, in batches, each through one of the hubs, again until it is answered."""
    seq = 1
    while seq <= wanted:
        some = [{"seq": i, "op": "event", "name": "e%d" % i} for i in range(seq, min(seq + random.randrange(1, 40), wanted + 1))]
        try:
            a = random.choice(hubs).ask("POST", "/api/sessions/%s/batch" % identity, {"operations": some}, timeout=30)
        except (OSError, EOFError):     # the hub itself is gone, or the story has failed
            time.sleep(0.02)
            continue
        if a.status == 503:
            assert a.headers["retry-after"] == "1"
            time.sleep(0.02)
            continue
        if a.status != 200 or a.json["applied_seq"] < seq:
            failed.append((a.status, a.text))
            return
        seq = a.json["applied_seq"] + 1


def send_singly(hub, session, wanted, answers):
    """Events without a number: again when the hub says that nothing was kept, and never otherwise."""
    for i in range(wanted):
        while True:
            a = hub.ask("POST", session.path + "/events", {"name": "s%d" % i}, timeout=30)
            answers["s%d" % i] = a.status
            if a.status != 503:
                break
            time.sleep(0.02)


def together(*functions):
    threads = [threading.Thread(target=f, daemon=True) for f in functions]     # a story that fails does not wait for them
    for t in threads:
        t.start()
    return threads


@pytest.mark.limit(180)
def test_postgresql_killed_in_the_middle_loses_nothing_and_doubles_nothing(hub, server):
    batched, single = [hub.create(key="b%d" % i) for i in range(6)], [hub.create(key="s%d" % i) for i in range(4)]
    failed, answers = [], [{} for _ in single]
    wanted, singles = 1500, 150
    threads = together(*[lambda s=s: send_batches([hub], s.id, wanted, failed) for s in batched],
                       *[lambda s=s, a=a: send_singly(hub, s, singles, a) for s, a in zip(single, answers)])
    for _ in range(3):
        threads[0].join(random.uniform(0.2, 0.5))
        server.kill9()
        server.start()
    for t in threads:
        t.join()
    assert not failed
    for session in batched:
        assert names(session) == ["e%d" % i for i in range(1, wanted + 1)]
    for session, told in zip(single, answers):
        kept = collections.Counter(names(session))
        assert {n for n, status in told.items() if status == 200} <= set(kept)
        assert all(count == 1 for count in kept.values()), kept
        assert all(status in (200, 504) for status in told.values()), told     # 504: nobody knew
    assert hub.log_has("hub_database_away") and hub.log_has("hub_database_back")


@pytest.mark.parametrize("when,was", [("after", "committed"), ("before", "not committed")])
def test_a_commit_whose_answer_is_lost_counts_once(site, server, when, was):
    """Operations without a number too, which a client could not send again: each is answered 200, and is there once."""
    line = postgres.Line(server)
    name = postgres.name_of(server.database())
    hub = site.hub(database=line.url(name))
    # The clean-up at the start commits twice, and is nobody's request.
    wait_until(lambda: int(server.sql("SELECT max(commits) FROM weir_writers", name)[0][0]) >= 2)
    session = hub.create()
    wanted = []
    for i in range(3):
        line.cut = when
        session.event("e%d" % i)
        line.cut = when
        session.metric("m%d" % i, i)
        line.cut = when
        session.batch(("event", {"name": "b%d" % i}), first=i + 1)
        line.cut = when
        wanted.append(hub.create("made-%d" % i).id)
    assert line.cuts == 12
    assert names(session) == [n + str(i) for i in range(3) for n in ("e", "b")]
    assert [m["name"] for m in session.now()["metrics"]] == ["m0", "m1", "m2"]
    assert hub.ids() == wanted[::-1] + [session.id]
    assert len(hub.log_lines("hub_commit_resolved", was=was)) == 12
    line.close()


@pytest.mark.parametrize("how,hold", [("late", 3.5), ("silent", 2.5), ("silent", 3)])
def test_a_commit_that_arrives_late_or_is_not_found_out_in_time_is_never_made_twice(site, server, how, hold):
    """A cable that is out for longer than the hub's patience of 2 s, and brings the rest of the commit after all; or a server that
    has made it and cannot be asked for so long."""
    line = postgres.Line(server)
    hub = site.hub(database=line.url(postgres.name_of(server.database())), database_timeout="2s")
    session = hub.create().event("first")
    line.cut, line.hold = how, hold
    a = hub.ask("POST", session.path + "/events", {"name": "once"}, timeout=60)
    time.sleep(max(0, hold - 2))                # so late that what was said before has to hold
    wait_until(lambda: ready(hub))
    assert line.cuts == 1 and a.status in (200, 504), (a, a.text)
    assert names(session).count("once") in ((1,) if a.status == 200 or how == "silent" else (0, 1))
    session.event("last")
    assert names(session)[-1] == "last"
    line.close()


@pytest.mark.limit(180)
def test_two_hubs_feed_the_same_sessions_and_one_is_killed(site, server):
    url = server.database()
    hubs = [site.hub(database=url), site.hub(database=url)]
    made = [[h.create(key="k%d" % i, machine_id="m").id for h in hubs] for i in range(6)]
    assert all(a == b for a, b in made) and len(hubs[0].list()) == 6
    failed = []
    # Each session is sent twice over, by two senders that know nothing of each other: whatever comes second is known already.
    threads = together(*[lambda i=i: send_batches(hubs, i, 800, failed) for i, _ in made for _ in range(2)])
    for _ in range(3):
        threads[0].join(random.uniform(0.1, 0.4))
        hubs[1].kill9()
        hubs[1].restart()
    for t in threads:
        t.join()
    assert not failed
    for identity, _ in made:
        events = hubs[1].get("/api/sessions/" + identity)["events"]
        assert [e["name"] for e in events] == ["e%d" % i for i in range(1, 801)]
    assert hubs[0].ids() == hubs[1].ids()


def test_a_machine_that_comes_back_at_one_hub_crashes_what_it_left_at_another(site, server):
    url = server.database()
    hubs = [site.hub(database=url, heartbeat_timeout="300ms") for _ in range(2)]
    left = [hubs[0].create(machine_id="m").heartbeat() for _ in range(3)]
    wait_until(lambda: all(s.now()["suspended"] for s in left))
    again = hubs[1].create(machine_id="m")
    assert all(s.now()["crashed"] for s in left) and not again.now()["crashed"]
    assert [names(s) for s in left] == [["session_crashed_detected"]] * 3


def test_hubs_whose_clocks_differ_agree_about_who_is_suspended(site, server):
    """One hub was started with a wall clock that is an hour behind: what it writes is not an hour old for the other one."""
    url = server.database()
    clock = WallClock(site.dir)
    clock.set(-3600)
    behind = site.hub(database=url, heartbeat_timeout="60s", env=clock.env)
    right = site.hub(database=url, heartbeat_timeout="60s")
    sessions = [behind.create(machine_id="m").heartbeat(), right.create(machine_id="m").heartbeat()]
    assert sessions[0].now()["last_heartbeat"] < sessions[1].now()["last_heartbeat"]      # they do differ
    behind.create(machine_id="m")
    right.create(machine_id="m")
    for hub in (behind, right):
        for session in sessions:
            now = hub.get(session.path)
            assert now["active"] and not now["suspended"] and not now["crashed"], now


def test_two_hubs_that_start_at_once_make_one_schema(site, server):
    url = server.database()
    hubs = []
    for t in together(*[lambda n=n: hubs.append(site.hub("hub-%d" % n, database=url)) for n in range(4)]):
        t.join()
    assert len(hubs) == 4
    session = hubs[0].create()
    assert all(h.get(session.path)["id"] == session.id for h in hubs)
    assert server.sql("SELECT version FROM weir_schema", postgres.name_of(url)) == [["2"]]


def test_what_is_too_old_goes_once_when_two_hubs_look_for_it(site, server):
    url = server.database()
    hub = site.hub(database=url, retention="36500d")  # its own clean-up at the start takes none
    old = [hub.create(created_at="2020-01-01T00:00:00Z") for _ in range(30)]
    for session in old:
        session.batch(*[("event", {"name": "e"})] * 100, first=1)
    young = hub.create().event("e")
    others = [site.hub(database=url, retention="1h", cleanup_interval="200ms") for _ in range(2)]
    wait_until(lambda: hub.ids() == [young.id])
    wait_until(lambda: sum(h.metric("weir_hub_sessions_deleted_total") for h in others) == 30)
    wait_until(lambda: server.sql("SELECT (SELECT count(*) FROM weir_events), (SELECT count(*) FROM weir_doomed),"
                                  " (SELECT count(*) FROM weir_states)", postgres.name_of(url)) == [["1", "0", "1"]])


# Away

def test_a_server_that_was_restarted_is_found_again(hub, server):
    session = hub.create().event("before")
    assert names(session) == ["before"]         # a connection for reading is open, too
    server.stop()
    server.start()
    # 503 only when it was away for so long that the hub has looked for it meanwhile.
    wait_until(lambda: hub.ask("POST", session.path + "/events", {"name": "after"}).status == 200)
    assert names(session) == ["before", "after"]


def test_while_the_server_is_away_the_hub_says_so_at_once_and_comes_back(hub, server):
    session = hub.create().event("before")
    assert "'state': 'up'" in str(hub.status()) and hub.metric("weir_hub_database_up") == 1
    server.stop()
    wait_until(lambda: hub.ask("POST", session.path + "/events", {"name": "lost"}).status == 503)
    begin = time.monotonic()
    for method, path, body in (("POST", session.path + "/events", {"name": "lost"}), ("POST", "/api/sessions", {"product": "p", "version": "1"}),
                               ("GET", session.path, None), ("GET", "/api/data/sessions", None), ("GET", "/api/data/products", None)):
        a = hub.ask(method, path, body)
        assert a.status == 503 and a.headers["retry-after"] == "1" and "away" in a.text, (method, path, a, a.text)
    assert time.monotonic() - begin < 5
    assert hub.ask("GET", "/readyz").status == 503 and hub.ask("GET", "/livez").status == 200
    assert hub.metric("weir_hub_database_up") == 0
    assert hub.health()["status"] == "unhealthy" and "database" in hub.health()["components"]["disk"]["reason"]
    server.start()
    wait_until(lambda: ready(hub))
    session.event("after")
    assert names(session) == ["before", "after"] and hub.health()["status"] == "healthy"


def test_a_server_that_stands_still_is_away_in_bounded_time(hub, server):
    session = hub.create().event("before")
    assert names(session) == ["before"]
    server.freeze()
    answers = {}
    begin = time.monotonic()

    def ask(what, *request):
        answers[what] = hub.ask(*request, timeout=60).status

    threads = together(lambda: ask("batch", "POST", session.path + "/batch", {"operations": [{"seq": 1, "op": "event", "name": "batched"}]}),
                       lambda: ask("single", "POST", session.path + "/events", {"name": "single"}),
                       lambda: ask("read", "GET", session.path))
    for t in threads:
        t.join()
    assert time.monotonic() - begin < 15                # the patience is 2 s; for an answer, a connection, and to look it up
    assert answers["batch"] == 503 and answers["read"] == 503 and answers["single"] in (503, 504), answers
    begin = time.monotonic()
    assert hub.ask("POST", session.path + "/events", {"name": "no"}).status == 503
    assert time.monotonic() - begin < 2
    server.thaw()
    wait_until(lambda: ready(hub))
    session.batch(("event", {"name": "batched"}), first=1)
    kept = names(session)
    assert kept.count("batched") == 1 and kept.count("single") == (answers["single"] == 504 and kept.count("single")) and "no" not in kept
    assert kept[0] == "before"


def test_a_hub_starts_without_its_server_and_without_its_database(site, server):
    url = server.database(create=False)
    server.stop()
    hub = site.hub(database=url)
    assert not ready(hub) and hub.log_has("hub_database_away")
    hub.refuses(503, "POST", "/api/sessions", {"product": "p", "version": "1"})
    server.start()
    hub.wait_log("hub_database_away", "does not exist")
    assert "does not exist" in str(hub.status())
    server.sql("CREATE DATABASE " + postgres.name_of(url))
    wait_until(lambda: ready(hub))
    assert hub.create().now()


def test_who_holds_a_row_keeps_nobody_else(hub, server):
    stuck, other = hub.create(), hub.create()
    somebody = server.hold("SELECT number FROM weir_sessions WHERE id = '%s' FOR UPDATE" % stuck.id, postgres.name_of(hub.options["hub"]["database"]))
    answers = []
    begin = time.monotonic()
    threads = together(*[lambda: answers.append(hub.ask("POST", stuck.path + "/events", {"name": "stuck"}, timeout=60).status)] * 5)
    for i in range(20):
        other.event("e%d" % i)
        assert time.monotonic() - begin < 1 + i         # half a second at a time, and others pass
    for t in threads:
        t.join()
    assert answers == [503] * 5 and names(other) == ["e%d" % i for i in range(20)] and hub.log_lines("hub_database_away") == []
    server.let_go(somebody)
    stuck.event("later")
    assert names(stuck) == ["later"]


def test_a_stop_does_not_wait_for_a_server_that_is_away(site, server):
    hub = site.hub(database=server.database(), database_timeout="60s")
    session = hub.create()
    server.freeze()

    def post():
        try:
            hub.ask("POST", session.path + "/events", {"name": "e"})
        except OSError:
            pass

    thread, = together(post)
    wait_until(lambda: hub.metric("weir_http_connections") >= 2)
    begin = time.monotonic()
    hub.stop()
    assert time.monotonic() - begin < 15
    thread.join()
    server.thaw()


# Secrets, versions, room

def test_a_wrong_password_is_said_and_never_shown(site, server):
    name = postgres.name_of(server.database())
    server.sql("ALTER DATABASE %s OWNER TO hub" % name)
    wrong = "wr0ng-horse-battery"
    hub = site.hub(database=server.url_with_password(name, wrong))
    assert not ready(hub)
    hub.wait_log("hub_database_away", "password authentication failed")
    seen = hub.whole_log() + str(hub.status()) + str(hub.health()) + hub.metrics_text()
    assert wrong not in seen and 'user "hub"' not in seen and "user \\x22hub" not in seen and "hub:" not in seen
    assert "127.0.0.1:%d/%s" % (server.port, name) in seen
    server.sql("ALTER ROLE hub PASSWORD '%s'" % wrong)
    try:
        wait_until(lambda: ready(hub))
        assert hub.create().event("e").now()["events"]
    finally:
        server.sql("ALTER ROLE hub PASSWORD '%s'" % server.password)
    assert wrong not in hub.whole_log()


def test_a_password_file_is_what_libpq_makes_of_it(site, server):
    name = postgres.name_of(server.database())
    server.sql("ALTER DATABASE %s OWNER TO hub" % name)
    path = site.file("pgpass", "127.0.0.1:%d:%s:hub:%s\n" % (server.port, name, server.password))
    hub = site.hub(database="postgresql://hub@127.0.0.1:%d/%s?passfile=%s" % (server.port, name, path))
    assert ready(hub) and hub.create().now()


@pytest.mark.parametrize("database", ["postgresql://ann:swordfish@host/db?nonsense=1", "postgresql://ann:swordfish@[half/db",
                                      "postgres:/ann:swordfish@host/db", "mysql://ann:swordfish@host/db"])
def test_what_is_no_url_is_refused_and_not_repeated(site, database):
    path = site.file("weir.yaml", "hub:\n  database: \"%s\"\n" % database)
    code, out, err = run_weir("check", "-c", path, env=site.env, cwd=site.dir)
    assert code == 2 and "hub.database" in err and "swordfish" not in out + err, (code, out, err)


def test_a_database_of_a_newer_weir_is_left_alone(site, server):
    url = server.database()
    hub = site.hub(database=url)
    hub.create()
    hub.stop()
    server.sql("UPDATE weir_schema SET version = 99", postgres.name_of(url))
    code, _, err = run_weir("hub", "-c", hub.config_path, env=hub.env, cwd=hub.dir)
    assert code != 0 and "newer weir" in err, (code, err)
    server.sql("UPDATE weir_schema SET version = 2", postgres.name_of(url))
    assert len(hub.start().list()) == 1


def test_an_older_schema_is_brought_up_to_date(site, server):
    url = server.database()
    hub = site.hub(database=url)
    session = hub.create().event("before")
    hub.stop()
    server.sql("ALTER TABLE weir_writers DROP COLUMN token; UPDATE weir_schema SET version = 1", postgres.name_of(url))
    hub.start()
    session.event("after")
    assert names(session) == ["before", "after"]
    assert server.sql("SELECT version FROM weir_schema", postgres.name_of(url)) == [["2"]]


def test_a_database_in_another_encoding_is_refused_with_what_to_do(site, server):
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    hub = site.hub(database=server.url("latin"))
    assert not ready(hub)
    hub.wait_log("hub_database_away", "ENCODING 'UTF8'")


def test_a_full_disk_of_the_server_is_an_error_and_no_loss(site, server):
    where = server.make_folder("small")
    uid = os.stat(where).st_uid
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700,uid=%d" % uid, "weir-story", where],
                                           check=False).returncode:
        pytest.skip("mounting a small tmpfs takes root")
    try:
        server.sql("CREATE TABLESPACE small LOCATION '%s'" % where)
        name = postgres.name_of(server.database())
        server.sql("ALTER DATABASE %s SET TABLESPACE small" % name)
        hub = site.hub(database=server.url(name))
        session = hub.create().event("before")
        kept, answer = 0, None
        for _ in range(400):
            answer = hub.ask("POST", session.path + "/events", {"name": "e", "message": os.urandom(40000).hex()})
            if answer.status != 200:
                break
            kept += 1
        assert answer.status == 507 and "full" in answer.text, (answer, answer.text)
        assert names(session) == ["before"] + ["e"] * kept
        assert hub.ask("GET", "/readyz").status == 200
        hub.stop()
        server.sql("DROP DATABASE " + name)
        server.sql("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", where], check=True)


# From one database to another

def migrate(site, source, target, code=0, limit=120):
    got, out, err = run_weir("hub", "migrate", "--from", source, "--to", target, env=site.env, cwd=site.dir, limit=limit)
    assert got == code, (got, out, err)
    return out if code == 0 else err


def file_of(hub):
    return "sqlite:" + os.path.join(hub.data_dir, "hub.db")


def everything(hub):
    return [hub.get("/api/sessions/" + s["id"]) for s in hub.list("view=summary")]


def test_a_database_is_copied_with_all_that_it_knows_and_back_again(site, server):
    old = site.hub(retention="36500d")
    kept = old.create("game", "1.0", key="k-1", machine_id="m", hostname="desk", created_at="2026-01-01T00:00:00Z")
    kept.batch(("state", {"state": {"a": {"b": [1, 2.5, "Für\u2028immer \\ \"x\""]}}}), ("event", {"name": "e", "message": "tab\there"}),
               ("metric", {"name": "m", "value": 1e300}), ("heartbeat", {}), first=5)
    old.create("tool", "2.0").event("application_appears_hung").end()
    old.create("tool", "2.0", **{"user": "ann", "build": 17}).crash("oom")
    doomed = old.create(created_at="2020-01-01T00:00:00Z").event("old")
    before = everything(old)
    old.stop()
    url = server.database()
    out = migrate(site, file_of(old), url)
    assert "events " in out and "sessions " in out and "4 of 4" in out and "done: set hub.database" in out
    new = site.hub(database=url, retention="36500d")
    assert everything(new) == before
    assert new.create(key="k-1").id == kept.id
    assert new.post(kept.path + "/batch", {"operations": [{"seq": 8, "op": "event", "name": "again"},
                                                          {"seq": 9, "op": "event", "name": "next"}]})["applied_seq"] == 9
    assert [e["name"] for e in new.get(kept.path)["events"]] == ["e", "next"]
    new.create("young")
    before = everything(new)
    assert before[0]["state"]["product"] == "young" and doomed.id in [s["id"] for s in before]
    new.stop()
    back = "sqlite:" + os.path.join(site.dir, "back.db")
    migrate(site, url, back)
    again = site.hub(database=back, retention="36500d")
    assert everything(again) == before
    assert again.create("last").id == again.ids()[0]


def test_what_cannot_be_copied_is_said(site, server):
    old = site.hub()
    old.create().event("one")
    old.stop()
    source = file_of(old)
    assert "written to meanwhile" not in migrate(site, source, "sqlite:first.db")
    assert "has 1 sessions already" in migrate(site, source, "sqlite:first.db", code=1)
    assert "No such file" in migrate(site, "sqlite:/nowhere/hub.db", server.database(), code=1)
    assert "does not exist" in migrate(site, source, server.database(create=False), code=1)
    err = migrate(site, source, "postgresql://ann:swordfish@127.0.0.1:1/db", code=1)
    assert "refused" in err and "swordfish" not in err
    assert "neither sqlite:FILE nor" in migrate(site, source, "mysql://x", code=1)
    assert run_weir("hub", "migrate", "--to", "sqlite:x", env=site.env, cwd=site.dir)[0] == 2
    url = server.database()
    hub = site.hub(database=url)
    hub.stop()
    server.sql("INSERT INTO weir_events VALUES (4294967296, 'somebody else''s')", postgres.name_of(url))
    assert "of another database" in migrate(site, source, url, code=1)
    old.start()
    assert "in use by another weir" in migrate(site, source, server.database(), code=1)
    old.stop()
    damaged = os.path.join(site.dir, "damaged.db")
    with open(source.removeprefix("sqlite:"), "rb") as f, open(damaged, "wb") as g:
        g.write(f.read(100) + b"no database" * 1000)
    before = open(damaged, "rb").read()
    assert "is damaged" in migrate(site, "sqlite:" + damaged, server.database(), code=1)
    assert open(damaged, "rb").read() == before and not os.path.exists(os.path.join(site.dir, "damaged"))


def test_a_source_that_was_written_to_is_not_copied_half(site, server):
    """Between an interruption and the second try; and during a copy: nothing that is there looks whole and is not."""
    source = "sqlite:" + os.path.join(site.dir, "elsewhere.db")     # where the hub's lock is not found
    old = site.hub(database=source)
    session = old.create().event("a1")
    url = server.database()
    migrate(site, source, url)
    server.sql("DELETE FROM weir_sessions", postgres.name_of(url))     # as if it had been interrupted before its last transaction
    session.event("a2").state(x=2)
    assert "before it was written to again" in migrate(site, source, url, code=1)
    assert server.sql("SELECT count(*) FROM weir_sessions", postgres.name_of(url)) == [["0"]]
    url = server.database()
    for first in range(1, 30001, 1000):
        session.batch(*[("event", {"name": "e", "value": i}) for i in range(first, first + 1000)], first=first)
    process = subprocess.Popen([binary(), "hub", "migrate", "--from", source, "--to", url], env={**old.env}, cwd=site.dir,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"events")
    while process.poll() is None:
        session.event("late")
    _, err = process.communicate()
    assert process.returncode == 1 and b"was written to meanwhile" in err, err
    assert server.sql("SELECT count(*) FROM weir_sessions", postgres.name_of(url)) == [["0"]]


@pytest.mark.limit(180)
def test_a_copy_that_was_killed_goes_on_where_it_was(site, server):
    old = site.hub(weir={"log": {"level": "warn"}})
    session = old.create()
    for first in range(1, 70001, 1000):
        session.batch(*[("event" if i % 2 else "metric", {"name": "e", "value": i}) for i in range(first, first + 1000)], first=first)
    before = everything(old)
    old.stop()
    url = server.database()
    process = subprocess.Popen([binary(), "hub", "migrate", "--from", file_of(old), "--to", url], env={**old.env}, cwd=site.dir,
                               stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"events")
    process.kill()
    process.wait()
    process.stdout.close()
    brought = int(server.sql("SELECT count(*) FROM weir_events", postgres.name_of(url))[0][0])
    assert brought >= 20000
    assert server.sql("SELECT count(*) FROM weir_sessions", postgres.name_of(url)) == [["0"]]
    migrate(site, file_of(old), url)
    hub = site.hub(database=url)
    assert everything(hub) == before
