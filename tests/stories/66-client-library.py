"""Programs that report by libweir-client, with the real daemon and hub: they never wait, whatever the daemon does."""

import datetime
import glob
import json
import os
import signal
import subprocess
import time

import pytest

from lab.client import CRASHABLE, ClientProgram, FakeDaemon, built, compile_client
from lab.daemon import REPOSITORY, sanitizer_environment
from lab.sessions import Sessions, names
from lab.wait import free_port, wait_until

EVENT, METRIC = 1, 2        # places in the lists of stats


class Stage(Sessions):
    """The daemon, the hub, and programs that use the library."""

    def client(self, **options):
        c = ClientProgram(self.port, dict(self.site.env, XDG_STATE_HOME=os.path.join(self.site.dir, "state")),
                          log=os.path.join(self.site.dir, "program-%d.log" % len(self.programs)), **options)
        self.programs.append(c)
        return c

    def close(self):
        for p in self.programs:
            p.close = getattr(p, "finish", p.close)
        super().close()

    def pause_daemon(self):
        self.weir.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.weir.process.send_signal(signal.SIGCONT)

    def at(self, session_id):
        return self.hub.session(self.hub_id(session_id))

    def wait_at(self, session_id, condition, what):
        seen = []

        def look():
            seen[:] = [self.at(session_id)]
            return condition(seen[0])
        try:
            wait_until(look, 30)
        except AssertionError:
            raise AssertionError("waited in vain: %s: %s" % (what, json.dumps(seen, indent=1)[:4000])) from None
        return seen[0]

    @property
    def spool(self):
        return os.path.join(self.site.dir, "spool")

    def spooled(self):
        """Reports that lie in the folder; the files of running programs are empty."""
        found = []
        for path in glob.glob(self.spool + "/*.crash"):
            with open(path, "rb") as f:
                found += [f.read().rstrip(b"\0")]
        return [text for text in found if text]


@pytest.fixture
def lab(site):
    made = []

    def make(**options):
        made.append(Stage(site, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()


def steps(session):
    return [e["data"]["n"] for e in session["events"] if e["name"] == "step"]


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def only(session, name):
    return [e for e in session["events"] if e["name"] == name]


# --- a life ---------------------------------------------------------------------------------------------------------

def test_a_session_from_open_to_close(lab):
    stage = lab()
    p = stage.client(heartbeat_ms=100)
    session = p.id
    p.state(level=1, player={"name": "Ann", "lives": 3})
    p.state(player={"lives": 2}, level=None)
    p.events("step", 20)
    p.expect("exception", "oops")
    p.expect("log", "disk_low", "café")
    p.metric("gauge", "fps", 59.5)
    p.metric("counter", "shots", 2)
    p.metric("counter", "shots", 3)
    p.metric("histogram", "frame", 0.7)
    p.metric("histogram", "frame", 3)
    p.metric("timer", "load", 0.25)
    p.wait_stats(lambda s: s["heartbeats"] >= 3, "it beats by itself")
    p.flush()
    stats = p.stats()
    assert stats["taken"] == stats["answered"] == [2, 22, 6, 0]
    assert stats["dropped"] == stats["refused"] == [0, 0, 0, 0]
    assert (stats["connects"], stats["sessions"], stats["repeated"]) == (1, 1, 0), "one connection, kept alive"
    p.close()
    stage.wait_delivered()
    s = stage.at(session)
    assert s["active"] is False and s["ended_at"] and not s["crashed"]
    assert s["state"] == {"product": "game", "version": "1.0", "player": {"name": "Ann", "lives": 2}}
    assert steps(s) == list(range(20))
    oops, = only(s, "oops")
    assert (oops["category"], oops["group"], oops["labels"]) == ("error", "io", ["disk", "b\ufffd"])
    assert oops["stacktrace"] == ["write_all", "save", "main"]
    assert (oops["exception_type"], oops["exception_msg"]) == ("OSError", "no space")
    assert oops["source_function"] == "do_exception" and oops["source_line"] > 0
    low, = only(s, "disk_low")
    assert low["message"] == "café of 7" and low["category"] == "warning"
    metrics = {m["name"]: m for m in s["metrics"]}
    assert metrics["fps"]["value"] == 59.5
    assert metrics["shots"]["value"] == 5 and metrics["shots"]["tags"] == ["a", "b"]
    assert metrics["load"]["value"] == 0.25 and metrics["load"]["unit"] == "seconds"
    assert [b["count"] for b in metrics["frame"]["metadata"]["buckets"]] == [0, 1, 1]
    assert p.end() == 0


def test_what_was_told_before_the_daemon_was_there_arrives_in_order(lab):
    stage = lab(start=False)
    port = free_port()
    stage.weir.ports = {"sessions": port}
    p = stage.client()
    p.state(phase="one")
    p.events("step", 50)
    p.state(phase="two")
    assert p.do("flush", 50) == -110, "ETIMEDOUT"
    stats = p.wait_stats(lambda s: s["last_error"] == -111, "ECONNREFUSED")
    assert stats["queued_entries"] == 52 and stats["session_id"] == ""
    stage.weir.start(keep_ports=True)
    p.flush()
    p.close()
    assert p.stats() == -22
    stage.wait_delivered()
    session, = stage.hub.sessions()
    assert steps(session) == list(range(50))
    assert [h["state"]["phase"] for h in session["state_history"]] == ["one", "two"]
    assert not session["crashed"] and session["ended_at"]


# --- a daemon that stops, hangs, is killed --------------------------------------------------------------------------

def test_a_daemon_that_hangs_and_comes_back(lab):
    """Stopped, it accepts connections (the kernel does) and answers nothing: calls go on, nothing is lost."""
    stage = lab()
    p = stage.client()
    session = p.id
    p.events("step", 10)
    p.flush()
    stage.pause_daemon()
    began = time.monotonic()
    p.events("step", 200, 10)
    assert time.monotonic() - began < 10, "no call waits"
    assert p.do("flush", 200) == -110
    stage.go_on()
    p.flush()
    assert p.stats()["repeated"] == 0, "the answer came late, but it came"
    p.close()
    stage.wait_delivered()
    assert steps(stage.at(session)) == list(range(210))


def test_a_daemon_that_hangs_for_longer_than_an_answer_is_waited_for(lab):
    """At least once: what was in doubt is sent again, and only that."""
    stage = lab()
    p = stage.client(answer_ms=300, heartbeat_ms=60000)
    session = p.id
    p.events("step", 10)
    p.flush()
    stage.pause_daemon()
    p.events("step", 10, 10)
    stats = p.wait_stats(lambda s: s["repeated"] >= 2, "sent again and again")
    assert stats["last_error"] == -110
    stage.go_on()
    p.flush()
    again = p.stats()["repeated"]
    p.close()
    stage.wait_delivered()
    got = steps(stage.at(session))
    assert list(dict.fromkeys(got)) == list(range(20)), "all, in order"
    assert set(got) - {n for n in got if got.count(n) > 1} == set(range(20)) - {10}, "one was in doubt"
    assert got.count(10) <= 1 + again


def test_a_daemon_that_is_killed_and_started_again(lab):
    stage = lab()
    p = stage.client()
    session = p.id
    for round_ in range(3):
        p.events("step", 30, round_ * 60)
        stage.weir.kill9()
        p.events("step", 30, round_ * 60 + 30)
        stage.weir.start(keep_ports=True)
        p.flush()
    stats = p.stats()
    assert stats["session_id"] == session and stats["sessions"] == 1, "its id is good after a restart"
    assert stats["connects"] >= 4
    p.close()
    stage.wait_delivered()
    got = steps(stage.at(session))
    assert list(dict.fromkeys(got)) == list(range(180))
    assert len(got) - 180 <= stats["repeated"] <= 3, "at most one in doubt for each connection"


def test_a_registration_whose_answer_is_lost_makes_one_session(lab):
    """The daemon hangs from the start: each attempt to register lies in its sockets when it goes on."""
    stage = lab()
    stage.pause_daemon()
    p = stage.client(answer_ms=100)
    p.event("step", 1)
    p.wait_stats(lambda s: s["connects"] >= 4, "it tries again and again")
    stage.go_on()
    p.flush()
    p.close()
    stage.wait_delivered()
    session, = stage.hub.sessions()
    assert steps(session) == [1] and session["ended_at"] and not session["crashed"]


def test_what_waited_for_the_daemon_has_the_time_when_it_was_told(lab):
    stage = lab()
    p = stage.client()
    p.event("step", 1)
    p.flush()
    stage.weir.kill9()
    told = time.time()
    p.event("step", 2)
    p.state(phase="two")
    time.sleep(2.5)                                     # the time that it waits
    stage.weir.start(keep_ports=True)
    p.flush()
    p.event("step", 3)
    p.close()
    stage.wait_delivered()
    s, = stage.hub.sessions()
    one, two, three = [seconds(e["timestamp"]) for e in only(s, "step")]
    assert one <= two <= three and abs(two - told) < 1 and three - two > 2
    assert abs(seconds(s["state_history"][0]["timestamp"]) - told) < 1
    assert "age_ms" not in json.dumps(s)


def test_close_waits_no_longer_than_it_was_told(lab):
    stage = lab()
    p = stage.client()
    p.id
    stage.pause_daemon()
    p.event("step")
    began = time.monotonic()
    assert p.do("close", 300) == -110
    assert 0.25 < time.monotonic() - began < 10
    stage.go_on()
    q = stage.client()
    assert q.do("close", 20000) == 0, "one that told nothing registers, and ends"


def test_a_daemon_that_has_forgotten_the_session(lab):
    """As the original does when it is restarted: a new session is begun, and what was not answered goes there."""
    stage = lab()
    p = stage.client()
    sessions = [p.id]
    p.events("step", 5)
    p.flush()
    for n in (5, 10):                                   # it may forget more than once
        stage.weir.kill9()
        subprocess.run(["rm", "-rf", os.path.join(stage.weir.dir, "data")], check=True)
        p.events("step", 5, n)
        stage.weir.start(keep_ports=True)
        p.flush()
        sessions.append(p.stats()["session_id"])
    stats = p.stats()
    assert stats["sessions"] == len(set(sessions)) == 3 and stats["refused"] == [0, 0, 0, 0]
    p.close()
    stage.wait_delivered()
    assert steps(stage.at(sessions[2])) == list(range(10, 15))


def test_a_full_queue_drops_metrics_first_and_says_how_many(lab):
    stage = lab()
    p = stage.client(queue_entries=160)
    session = p.id
    stage.pause_daemon()
    for n in range(200):
        p.do("metric", "gauge", "load", n)
    codes = [p.do("event", "step", n) for n in range(100)]
    assert codes.count(0) in range(38, 42) and codes[-1] == -105, "ENOBUFS; a quarter is for what is no metric"
    kept = codes.index(-105)
    stats = p.stats()
    assert stats["dropped"][EVENT] == 100 - kept and stats["dropped"][METRIC] in range(78, 82)
    stage.go_on()
    p.flush()
    p.close()
    stage.wait_delivered()
    s = stage.at(session)
    assert steps(s) == list(range(kept)) and len(s["metrics"]) == stats["taken"][METRIC]
    told = only(s, "client_operations_dropped")
    assert told[0]["category"] == "warning" and told[0]["group"] == "weir.client"
    assert sum(e["data"]["events"] for e in told) == stats["dropped"][EVENT]
    assert sum(e["data"]["metrics"] for e in told) == stats["dropped"][METRIC]


def test_what_the_daemon_refuses_is_counted_and_blocks_nothing(lab):
    stage = lab()
    p = stage.client()
    session = p.id
    p.expect("state", '{"a": 1e999}')                   # JSON, but no double
    p.expect("state", '{"a": }', code=-22)
    p.expect("event", "", code=-22)
    p.expect("log", "long", "x" * 100000)               # cut
    p.expect("state", '{"a": "%s"}' % ("x" * 70000), code=-90)
    p.event("step")
    p.flush()
    stats = p.stats()
    assert stats["refused"] == [1, 0, 0, 0] and stats["dropped"] == [1, 0, 0, 0] and stats["answered"] == [0, 2, 0, 0]
    p.close()
    stage.wait_delivered()
    s = stage.at(session)
    assert steps(s) == [0] and len(only(s, "long")[0]["message"]) == 4096


# --- heartbeats -----------------------------------------------------------------------------------------------------

def test_a_main_loop_that_hangs_is_seen_and_so_is_a_pause(lab):
    stage = lab(heartbeat_timeout="1s")
    itself, paused = stage.client(heartbeat_ms=200), stage.client(heartbeat_ms=200)
    loop = stage.client(heartbeat_ms=200, flags=1)
    paused.expect("pause")
    paused.flush()
    s = stage.wait_at(loop.id, lambda s: s["hung"], "its main loop does not beat")
    assert names(s) == ["application_appears_hung"]

    def recovers():
        loop.expect("heartbeat")
        return not stage.at(loop.id)["hung"]
    wait_until(recovers, 30, "it beats again")
    s = stage.wait_at(loop.id, lambda s: s["hung"], "and is silent again")
    for other in (itself, paused):
        assert not stage.at(other.id)["hung"] and not names(stage.at(other.id))
    sent = paused.stats()["heartbeats"]
    paused.expect("resume")
    paused.wait_stats(lambda s: s["heartbeats"] > sent, "it beats again")


# --- the end of a program -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how, signal_name, reason", [
    ("segv", "SIGSEGV", "nothing is mapped at the address"),
    ("abort", "SIGABRT", "the program called abort, or an assertion of its own failed"),
    ("raised", "SIGSEGV", "sent by a process"),
    ("overflow", "SIGSEGV", "the address may not be used so|nothing is mapped at the address"),
    ("thread", "SIGSEGV", "nothing is mapped at the address"),
    ("forbidden", "SIGSYS", "a system call that is forbidden here"),
])
def test_a_crash_is_reported_with_its_signal_and_the_session_is_crashed(lab, how, signal_name, reason):
    stage = lab()
    p = stage.client()
    p.expect("catch", stage.spool)
    session = p.id
    p.events("step", 50)                                # some are in the queue when it happens
    p.say("crash", how)
    code = p.process.wait(30)
    assert code == -getattr(signal, signal_name), "it dies of the signal it got"
    s = stage.wait_at(session, lambda s: s["crashed"], "the session has crashed")
    stage.wait_delivered()
    s = stage.at(session)
    assert steps(s) == list(range(50)), "what was queued arrives"
    event, = only(s, "program_crashed")
    assert names(s).index("program_crashed") < names(s).index("parent_process_crashed")
    assert (event["category"], event["group"], event["labels"]) == ("critical", "weir.client", ["crash", "signal"])
    assert event["exception_type"] == signal_name and event["exception_msg"] in reason.split("|")
    assert event["data"]["signal"] == getattr(signal, signal_name) and event["data"]["pid"] == p.pid
    if how in ("segv", "thread"):
        assert event["data"]["address"] == "0x10"
        assert event["stacktrace"][0].startswith("client_actor+0x")
        assert (event["data"]["tid"] == p.pid) == (how == "segv")
    assert event["stacktrace"], event
    assert not glob.glob(stage.spool + "/*"), "its file is not needed any more"


def functions(program, event):
    """The names of the program's own functions in a stack trace."""
    frames = [f.split("+")[1] for f in event["stacktrace"] if f.startswith("actor+")]
    told = subprocess.run(["addr2line", "-f", "-e", program, *frames], stdout=subprocess.PIPE, text=True, check=True)
    return told.stdout.split("\n")[0::2]


def test_where_a_crash_was_and_where_an_event_is(lab):
    stage = lab()
    options = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    p = stage.client(program=compile_client(stage.site.dir, *options))
    p.expect("catch", stage.spool)
    session = p.id
    p.expect("stack", "here")
    p.say("crash", "segv")
    assert p.process.wait(30) == -signal.SIGSEGV
    s = stage.wait_at(session, lambda s: only(s, "program_crashed"), "it is reported")
    assert functions(p.process.args[0], only(s, "here")[0])[:3] == ["inner", "do_stack", "main"]
    assert functions(p.process.args[0], only(s, "program_crashed")[0])[:3] == ["crash_here", "do_crash", "main"]


@pytest.mark.parametrize("away", ["stopped", "killed", "never there"])
def test_a_crash_while_the_daemon_is_away_is_told_by_the_next_start(lab, away):
    stage = lab()
    p = stage.client(opened=False)
    port = free_port() if away == "never there" else stage.port
    p.expect("open", "game", "127.0.0.1:%d" % port, 0, 0, 0, 0, 0)
    p.expect("catch", stage.spool)
    session = p.id if away != "never there" else None
    if away == "stopped":
        stage.pause_daemon()
    elif away == "killed":
        stage.weir.kill9()
    began = time.monotonic()
    p.say("crash", "segv")
    assert p.process.wait(30) == -signal.SIGSEGV
    assert time.monotonic() - began < 15, "a second, on a machine that is not busy"
    report, = stage.spooled()
    assert b"program_crashed" in report and (session or "-").encode() in report
    if away == "stopped":
        stage.go_on()
    elif away == "killed":
        stage.weir.start(keep_ports=True)
    other = stage.client(product="another")
    other.expect("catch", stage.spool)
    q = stage.client()
    q.expect("catch", stage.spool)
    stats = q.wait_stats(lambda s: s["crash_reports"] == 1, "the report is delivered")
    assert stage.spooled() == [] and other.stats()["crash_reports"] == 0
    where = stage.wait_at(session or stats["session_id"], lambda s: only(s, "program_crashed"), "it is at the hub")
    assert where["crashed"] == (session is not None)
    assert only(where, "program_crashed")[0]["data"]["pid"] == p.pid
    for c in (q, other):
        c.close()
    assert not glob.glob(stage.spool + "/*"), "programs that end properly leave nothing"


def test_an_earlier_handler_gets_the_signal_after_the_report(lab):
    stage = lab()
    p = stage.client()
    p.expect("handler")
    p.expect("catch", stage.spool)
    q = p.do("catch", stage.spool)
    assert q == -16, "EBUSY"
    session = p.id
    p.say("crash", "segv")
    assert p.process.stdout.readline() == "the earlier handler\n"
    assert p.process.wait(30) == 7
    stage.wait_at(session, lambda s: only(s, "program_crashed"), "it is reported")


def test_after_close_signals_are_what_they_were(lab):
    stage = lab()
    p = stage.client()
    p.expect("catch", stage.spool)
    p.close()
    p.expect("handler")
    p.expect("open", "game", p.address, 0, 0, 0, 0, 0)
    p.expect("catch", stage.spool)
    p.close()
    p.say("crash", "segv")
    assert p.process.stdout.readline() == "the earlier handler\n"
    assert stage.spooled() == []


def test_a_program_that_exits_without_close_has_crashed_and_what_was_flushed_is_there(lab):
    stage = lab()
    p = stage.client()
    session = p.id
    p.event("step", 1)
    p.flush()
    p.say("exit", 3)
    assert p.process.wait(30) == 3
    s = stage.wait_at(session, lambda s: s["crashed"], "nobody said goodbye")
    assert steps(s) == [1] and not only(s, "program_crashed")


@pytest.fixture
def forks():
    """A child of a program with threads may start threads of its own; GCC's thread sanitizer dies of it ("dup thread")."""
    with open(built("tests", "client", "client_actor"), "rb") as f:
        if b"__tsan_init" in f.read():
            pytest.skip("the thread sanitizer does not take it")


def test_a_child_after_fork_reports_for_itself_only(lab, forks):
    stage = lab()
    p = stage.client()
    p.expect("catch", stage.spool)
    session = p.id
    for n in range(5):
        p.event("step", n)
        p.expect("fork", p.address)
    p.flush()
    p.close()
    stage.wait_delivered()
    s = stage.at(session)
    assert steps(s) == list(range(5)) and not only(s, "from_the_child") and not s["crashed"]
    children = [c for c in stage.hub.sessions() if c["state"]["product"] == "child"]
    assert len(children) == 5
    assert all(names(c) == ["childs_own"] and c["ended_at"] and not c["crashed"] for c in children)


def test_a_child_that_crashes_is_not_its_parent(lab):
    stage = lab()
    p = stage.client()
    p.expect("catch", stage.spool)
    session = p.id
    p.expect("fork_crash", code=signal.SIGSEGV)
    p.event("step", 1)
    p.close()
    stage.wait_delivered()
    s = stage.at(session)
    assert names(s) == ["step"] and not s["crashed"] and not glob.glob(stage.spool + "/*")


def test_a_child_that_gave_its_parents_client_back_reports_its_own_crash(lab, forks):
    stage = lab()
    p = stage.client()
    p.expect("catch", stage.spool)
    session = p.id
    p.expect("fork_own_crash", p.address, stage.spool, code=signal.SIGSEGV)
    p.event("step", 1)
    p.flush()
    child, = wait_until(lambda: [s for s in of_product(stage, "child") if s["crashed"]], 30, "the child's has crashed")
    assert names(child)[:2] == ["childs_own", "program_crashed"]
    stage.wait_at(session, lambda s: names(s) == ["step"], "the parent's own")
    p.say("crash", "segv")                              # and the parent can still report its own
    assert p.process.wait(30) == -signal.SIGSEGV
    s = stage.wait_at(session, lambda s: s["crashed"], "the parent's has crashed, too")
    assert only(s, "program_crashed")[0]["data"]["pid"] == p.pid


# --- a daemon that answers strangely --------------------------------------------------------------------------------

@pytest.fixture
def fake():
    daemon = FakeDaemon()
    yield daemon
    daemon.close()


@pytest.fixture
def told(site, request):
    made = []

    def make(daemon, **options):
        made.append(ClientProgram(daemon.port, site.env, log=os.path.join(site.dir, "program.log"), **options))
        return made[-1]
    yield make
    for p in made:
        p.finish()


def test_a_daemon_that_takes_no_events_still_hears_heartbeats(fake, told):
    """Its queue is full: neither what was dropped, nor an event, nor a report of a crash may stand in their way."""
    fake.answers["/event"] = 503
    p = told(fake, heartbeat_ms=50)
    p.expect("state", '{"a": "%s"}' % ("x" * 70000), code=-90)      # dropped: there is something to tell
    p.wait_stats(lambda s: s["heartbeats"] >= 10, "it beats", 20)
    p.event("step", 1)
    p.state(a=1)
    p.wait_stats(lambda s: s["heartbeats"] >= 20, "it beats", 20)
    assert fake.count("/event") >= 2
    fake.answers.clear()
    p.flush()
    p.close()
    assert fake.paths("session-1")[-1] == "/end" and fake.paths("session-1").count("/state") == 1


def test_what_is_told_of_drops_lets_the_programs_own_go_on(fake, told):
    """An event that the daemon does not take for now is the library's own: the program's state is taken meanwhile."""
    fake.answers["/event"] = 503
    p = told(fake, heartbeat_ms=60000)
    p.expect("state", '{"a": "%s"}' % ("x" * 70000), code=-90)
    for n in range(5):
        p.state(n=n)
    p.flush()
    p.close()
    assert fake.count("/state") == 5 and fake.count("/end") == 1


def test_a_daemon_that_knows_no_session_is_not_asked_for_ever_more(fake, told):
    fake.answers["/event"] = 404
    p = told(fake, heartbeat_ms=50)
    p.events("step", 100)
    wait_until(lambda: fake.count("/event") >= 8, 30, "it is tried again")
    assert fake.registered <= 4
    assert p.stats()["queued_entries"] == 100, "nothing is lost"
    fake.answers.clear()
    p.flush()
    assert p.stats()["answered"][EVENT] == 100 and fake.registered <= 4


def test_a_pause_is_one_in_the_session_that_follows_a_forgotten_one(fake, told):
    p = told(fake, heartbeat_ms=50)
    p.expect("pause")
    p.flush()
    beats = p.stats()["heartbeats"]
    fake.answers["/event"] = 404
    p.event("step", 1)
    wait_until(lambda: fake.registered >= 2, 20, "it has another session")
    fake.answers.clear()
    p.flush()
    last = p.stats()["session_id"]
    assert last != "session-1" and fake.paths(last)[:2] == ["/pause_heartbeat", "/event"]
    assert p.stats()["heartbeats"] == beats
    p.expect("resume")
    p.wait_stats(lambda s: s["heartbeats"] > beats, "it beats again")


# --- under sanitizers -----------------------------------------------------------------------------------------------

@pytest.mark.limit(240)
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_ten_threads_at_full_speed_while_the_daemon_stops_hangs_and_comes_back(lab, sanitizer):
    """Everything that the library does at once, compiled with a sanitizer whatever the rest is compiled with."""
    stage = lab()
    program = compile_client(stage.site.dir, "-O1", "-fsanitize=" + sanitizer, "-fno-sanitize-recover=all")
    p = stage.client(program=program, heartbeat_ms=50, answer_ms=500, flags=1, queue_entries=1000)
    p.expect("catch", stage.spool)
    session = p.id
    p.say("threads", 10, 20000)
    for _ in range(2):
        stage.pause_daemon()
        time.sleep(0.7)                                 # the time that it hangs: longer than an answer is waited for
        stage.go_on()
        stage.weir.kill9()
        stage.weir.start(keep_ports=True)
    taken = p.hear()
    p.flush(120000)
    stats = p.stats()
    p.close()
    assert p.end() == 0, p.error_text()
    assert "Sanitizer" not in p.error_text() and "runtime error" not in p.error_text(), p.error_text()
    assert stats["taken"][EVENT] == stats["answered"][EVENT] == taken
    assert taken + stats["dropped"][EVENT] == 200000
    stage.wait_delivered()
    s = stage.at(session)
    by_thread = {}
    for e in only(s, "step"):
        by_thread.setdefault(e["data"]["thread"], []).append(e["data"]["n"])
    total = sum(len(set(ns)) for ns in by_thread.values())
    assert total == taken, "each that was taken is there"
    assert all(list(dict.fromkeys(ns)) == sorted(set(ns)) for ns in by_thread.values()), "in the order of its thread"
    assert sum(e["data"]["events"] for e in only(s, "client_operations_dropped")) == stats["dropped"][EVENT]


# --- the examples, and C++ ------------------------------------------------------------------------------------------

def run(stage, *command, code=0):
    env = dict(stage.site.env, WEIR_SESSIONS_LISTEN="127.0.0.1:%d" % stage.port,
               XDG_STATE_HOME=os.path.join(stage.site.dir, "state"), **sanitizer_environment())
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        env[name] = CRASHABLE + env.get(name, "")
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


def of_product(stage, product):
    return [s for s in stage.hub.sessions() if s["state"]["product"] == product]


def test_the_game_loop(lab):
    stage = lab()
    assert run(stage, built("examples", "game-loop"), "70") == ""
    run(stage, built("examples", "game-loop"), "20", "crash", code=-signal.SIGSEGV)
    wait_until(lambda: any(s["crashed"] for s in of_product(stage, "game-loop")), 30, "the second has crashed")
    stage.wait_delivered()
    good, bad = sorted(of_product(stage, "game-loop"), key=lambda s: s["crashed"])
    assert good["state"]["level"] == 2 and good["state"]["left_by"] == "the end"
    assert not good["crashed"] and good["ended_at"]
    metrics = {m["name"]: m for m in good["metrics"]}
    assert metrics["frame"]["metadata"]["count"] == 70 and metrics["load_level"]["type"] == "timer"
    assert names(good).count("level_started") == 2
    assert bad["crashed"] and "program_crashed" in names(bad)


def test_the_command_line_tool(lab):
    stage = lab()
    with open(os.path.join(stage.site.dir, "three"), "w") as f:
        f.write("1\n2\n3\n")
    out = run(stage, built("examples", "command-line-tool"), f.name, f.name + "-missing", code=1)
    assert "       3 " + f.name in out and "No such file" in out
    stage.wait_delivered()
    s, = of_product(stage, "command-line-tool")
    assert names(s) == ["file_unreadable", "finished"] and s["ended_at"] and not s["crashed"]
    assert {m["name"]: m["value"] for m in s["metrics"]}["lines"] == 3


def test_a_tool_without_a_daemon_does_its_work(lab):
    stage = lab()
    stage.weir.ports["sessions"] = free_port()
    assert "0 /dev/null" in run(stage, built("examples", "command-line-tool"), "/dev/null")


@pytest.mark.parametrize("compiler", ["g++ -std=c++11 -pedantic", "g++ -std=c++20"])
def test_a_program_in_cxx(lab, compiler):
    stage = lab()
    obj = os.path.join(stage.site.dir, "header_test.o")
    header = os.path.join(REPOSITORY, "src", "client", "include")
    done = subprocess.run([*compiler.split(), "-Wall", "-Wextra", "-Werror", "-I", header, "-c", "-o", obj,
                           os.path.join(REPOSITORY, "tests/client/header_test.cc")], stderr=subprocess.PIPE, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    objects = []
    for path in glob.glob(os.path.join(REPOSITORY, "src/client/*.c")):
        if not path.endswith("_test.c"):
            objects.append(os.path.join(stage.site.dir, os.path.basename(path) + ".o"))
            subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-I", os.path.join(REPOSITORY, "src"), "-I", header,
                            "-c", "-o", objects[-1], path], check=True)
    program = os.path.join(stage.site.dir, "cxx")
    subprocess.run(["g++", "-o", program, obj, *objects, "-pthread"], check=True)
    session = run(stage, program, "127.0.0.1:%d" % stage.port).strip()
    stage.wait_delivered()
    s = stage.at(session)
    assert names(s) == ["saved", "logged"] and s["state"]["language"] == "c++" and s["state"]["ok"] is True
    assert only(s, "saved")[0]["data"] == {"slot": 2, "by": "c++"} and only(s, "saved")[0]["labels"] == ["disk", "slot"]
    assert [m["name"] for m in s["metrics"]] == ["scope"]
