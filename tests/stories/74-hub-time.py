"""What time does to sessions at a hub: suspended, crashed while nobody looked, too old."""

import signal

import pytest

from lab.clock import WallClock
from lab.wait import wait_until

BOTH_DATABASES = True


def is_suspended(session):
    now = session.now()
    assert not (now["suspended"] and now["active"])
    return now["suspended"]


def test_without_heartbeats_a_session_is_suspended_and_comes_back(site):
    hub = site.hub(heartbeat_timeout="500ms")
    session, silent = hub.create().heartbeat(), hub.create()
    wait_until(lambda: is_suspended(session))
    assert silent.now()["active"]                       # it never had one
    session.event("e").state(a=1).metric("m", 1)
    assert session.now()["suspended"]                   # only a heartbeat tells that it lives
    assert session.heartbeat().now()["active"]
    wait_until(lambda: is_suspended(session))
    assert hub.ids("state=suspended") == [session.id]
    now = session.end().now()
    assert (now["active"], now["suspended"], now["crashed"]) == (False, False, False)


def test_a_machine_that_comes_back_without_a_session_tells_that_it_crashed(site):
    hub = site.hub(heartbeat_timeout="500ms")
    gone = hub.create(machine_id="m1").heartbeat().event("application_appears_hung")
    other, nameless = hub.create(machine_id="m2").heartbeat(), hub.create().heartbeat()
    ended, silent = hub.create(machine_id="m1").heartbeat().end(), hub.create(machine_id="m1")
    for session in (gone, other, nameless):
        wait_until(lambda session=session: is_suspended(session))
    alive = hub.create(machine_id="m3").heartbeat()
    hub.create(machine_id="")
    hub.create()
    assert is_suspended(gone)
    hub.create(machine_id="m1")
    now = gone.now()
    assert (now["crashed"], now["suspended"], now["active"], now["hung"]) == (True, False, False, True)
    assert now["events"][-1]["name"] == "session_crashed_detected"
    assert now["events"][-1]["data"] == {"reason": "machine_returned_session_not_resumed", "machine_id": "m1"}
    assert is_suspended(other) and is_suspended(nameless)
    assert silent.now()["active"] and not ended.now()["crashed"] and not alive.now()["crashed"]
    gone.heartbeat()
    assert gone.now()["crashed"] and not gone.now()["active"]       # for ever
    events = len(gone.now()["events"])
    hub.create(machine_id="m1")
    assert len(gone.now()["events"]) == events
    assert hub.metric("weir_hub_sessions_crashed_total") == 1
    hub.restart()
    assert gone.now()["crashed"]


def test_a_creation_that_is_repeated_crashes_nobody(site):
    hub = site.hub(heartbeat_timeout="300ms")
    session = hub.create(machine_id="m1", key="k").heartbeat()
    wait_until(lambda: is_suspended(session))
    assert hub.create(machine_id="m1", key="k").id == session.id
    assert is_suspended(session)


def test_what_is_older_than_the_retention_goes(site):
    hub = site.hub(retention="1h", cleanup_interval="200ms")
    old = hub.create(created_at="2020-01-01T00:00:00Z", key="k")
    young = hub.create().event("e")
    wait_until(lambda: hub.ask("GET", old.path).status == 404)
    assert hub.ids() == [young.id] and len(young.now()["events"]) == 1
    wait_until(lambda: hub.metric("weir_hub_sessions_deleted_total") == 1)     # when its items are gone too
    hub.refuses(404, "POST", old.path + "/events", {"name": "e"})
    assert hub.create(key="k").id != old.id


def test_the_retention_is_looked_at_when_the_hub_starts_and_can_change_live(site):
    hub = site.hub(cleanup_interval="24h")
    old, young = hub.create(created_at="2026-01-01T00:00:00Z"), hub.create()
    old.batch(*[("event", {"name": "e"})] * 1000, first=1)
    hub.restart()
    assert old.now()
    options = dict(hub.options)
    options["hub"] = dict(options["hub"], retention="1h")
    hub.configure(options)
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: hub.ids() == [young.id])
    hub.restart()
    assert hub.ids() == [young.id]


def test_a_new_retention_counts_though_the_clean_up_is_under_way(site):
    hub = site.hub(cleanup_interval="24h")
    for i in range(1500):
        hub.create("ancient", created_at="2020-01-01T00:00:00Z")
    old, young = hub.create(created_at="2026-06-01T00:00:00Z"), hub.create()
    options = dict(hub.options)
    options["hub"] = dict(options["hub"], retention="1h")
    hub.restart()                                       # and 1,500 sessions go, which takes a while
    hub.configure(options)
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: hub.ask("GET", old.path).status == 404)
    wait_until(lambda: hub.ids() == [young.id])


DAY = 24 * 3600


@pytest.mark.parametrize("ahead", [3 * DAY, -3 * DAY, 800 * DAY], ids=["ahead", "back", "years ahead"])
def test_a_wall_clock_that_is_set_suspends_and_crashes_nobody_and_deletes_nothing(site, ahead):
    clock = WallClock(site.dir)
    hub = site.hub(env=clock.env, heartbeat_timeout="1h", cleanup_interval="100ms")
    alive = hub.create(machine_id="m1").heartbeat().event("before")
    clock.set(ahead)
    session = hub.create(machine_id="m1")               # its machine is there: were the other one suspended, it would have crashed now
    assert (session.now()["created_at"] > alive.now()["created_at"]) == (ahead > 0)     # the clock has been set indeed
    cleaned = hub.metric("weir_hub_cleanups_total")
    wait_until(lambda: hub.metric("weir_hub_cleanups_total") > cleaned + 1)
    assert alive.event("after").now()["active"] and not alive.now()["crashed"] and session.now()["active"]
    clock.set(0)
    cleaned = hub.metric("weir_hub_cleanups_total")
    wait_until(lambda: hub.metric("weir_hub_cleanups_total") > cleaned + 1)
    now = alive.heartbeat().now()
    assert now["active"] and [e["name"] for e in now["events"]] == ["before", "after"]
    assert hub.metric("weir_hub_sessions_deleted_total") == 0 and hub.metric("weir_hub_sessions_crashed_total") == 0


def test_who_is_silent_is_suspended_on_time_though_the_wall_clock_goes_back(site):
    clock = WallClock(site.dir)
    hub = site.hub(env=clock.env, heartbeat_timeout="500ms")
    session = hub.create().heartbeat()
    clock.set(-DAY)
    wait_until(lambda: is_suspended(session), 20)
    assert session.heartbeat().now()["active"]
