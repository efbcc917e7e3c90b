"""A program's session from its beginning to its end: with the hub there, with the hub away from the start, and with the
daemon killed on the way."""

import re

import pytest

from lab.sessions import Sessions, names
from lab.wait import wait_until

BOTH_DATABASES = True


@pytest.fixture
def lab(site):
    made = []

    def make(**options):
        made.append(Sessions(site, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()


def numbers(session):
    return [e["data"]["n"] for e in session["events"] if e["name"] == "step"]


def test_the_life_of_a_session_online(lab):
    stage = lab()
    game = stage.program(product="game", version="2.1")
    assert not game.id.startswith("local-session-")         # the hub was there
    game.state(level=1, player={"name": "Ann", "lives": 3})
    game.state(player={"lives": 2}, level=None)
    game.state(player={"name": "Ann", "lives": 2})          # nothing new: not sent
    for n in range(5):
        game.event("step", data={"n": n}, labels=["walk"])
    game.event("oops", exception_type="ValueError", exception_msg="no")
    game.metric("fps", 59.5, unit="1/s")
    game.metric("shots", 1, type="counter", delta=2, tags=["b", "a"])
    game.metric("shots", 1, type="counter", delta=3, tags=["a", "b"])
    game.metric("load", 0.3, type="histogram", metadata={"buckets": [0.1, 0.5, "inf"]})
    game.metric("load", 7, type="histogram", metadata={"buckets": [0.1, 0.5, "inf"]})
    game.heartbeat()
    game.end()
    shown = game.look()
    assert shown["active"] is False and shown["ended_at"]
    stage.wait_delivered()
    there = stage.at_hub(game)
    assert there["active"] is False and there["ended_at"] and not there["crashed"]
    assert there["state"] == {"product": "game", "version": "2.1", "player": {"name": "Ann", "lives": 2}}
    assert [h["state"].get("level") for h in there["state_history"]] == [1, None]
    assert numbers(there) == list(range(5))
    assert next(e for e in there["events"] if e["name"] == "oops")["category"] == "error"
    metrics = {m["name"]: m for m in there["metrics"]}
    assert len(there["metrics"]) == 3
    assert metrics["shots"]["value"] == 5 and metrics["shots"]["tags"] == ["a", "b"]
    assert metrics["load"]["metadata"]["buckets"] == [{"le": 0.1, "count": 0}, {"le": 0.5, "count": 1},
                                                      {"le": "Infinity", "count": 1}]
    assert metrics["load"]["value"] == 3.65 and metrics["load"]["metadata"]["count"] == 2
    assert stage.weir.metric("weir_session_operations_total", type="event", outcome="delivered") == 6
    assert stage.weir.log_has("session_created", product="game")


def test_offline_from_the_start_and_synced_later_through_kills_of_the_daemon(lab):
    stage = lab()
    stage.hub.kill9()
    tool = stage.program(product="tool")
    assert re.fullmatch(r"local-session-\d+-\d+", tool.id)
    tool.state(phase="one")
    for n in range(20):
        tool.event("step", data={"n": n})
        if n in (6, 13):
            stage.weir.kill9()
            stage.weir.start(keep_ports=True)
    tool.metric("files", 1, type="counter", delta=7)
    stage.weir.kill9()
    stage.weir.start(keep_ports=True)
    shown = tool.look()
    assert shown["id"] == shown["local_id"] == tool.id and shown["active"]
    assert shown["state"]["phase"] == "one" and numbers(shown) == list(range(20))
    tool.state(phase="one")                                 # known, through the restarts
    stage.hub.start_again()
    there = stage.wait_at_hub(tool, lambda s: len(s["metrics"]) == 1, "all of it arrives")
    stage.wait_delivered()
    assert numbers(there) == list(range(20)) and len(there["state_history"]) == 1
    assert there["metrics"][0]["value"] == 7
    assert len(stage.hub.sessions()) == 1
    assert stage.weir.log_has("session_remapped", session=tool.id)
    # Both ids, on every endpoint, for ever
    hub_id = there["id"]
    stage.weir.restart()
    for name in (tool.id, hub_id):
        assert tool.look(name)["id"] == hub_id and tool.look(name)["local_id"] == tool.id
        for path, more in (("/event", {"name": "late"}), ("/state", {"state": {"by": name}}), ("/heartbeat", {}),
                           ("/metric", {"name": "m", "value": 1}), ("/pause_heartbeat", {}), ("/resume_heartbeat", {})):
            tool.tell(path, session_id=name, **more)
    tool.tell("/end", session_id=tool.id)
    stage.wait_delivered()
    there = stage.hub.session(hub_id)
    assert names(there).count("late") == 2 and there["state"]["by"] == hub_id and there["active"] is False


def test_a_program_that_crashes_is_reported_within_a_second_also_when_the_daemon_was_away_meanwhile(lab):
    stage = lab()
    child, other = stage.child(), stage.child()
    game = stage.program(pid=child.pid)
    lost = stage.program(pid=other.pid)
    child.end(sig=11)
    wait_until(lambda: stage.item(game.id)["crashed"], 10, "the crash is seen")
    stage.weir.kill9()
    other.end(sig=9)
    stage.weir.start(keep_ports=True)
    for program in (game, lost):
        there = stage.wait_at_hub(program, lambda s: s["crashed"], "the crash is at the hub")
        assert names(there) == ["parent_process_crashed", "session_crashed_detected"]
        assert there["events"][0]["group"] == "datacat.daemon" and there["active"] is False


def test_a_program_that_falls_silent_is_reported_and_so_is_its_recovery(lab):
    stage = lab(heartbeat_timeout="300ms")
    game, paused = stage.program(), stage.program()
    paused.pause()
    there = stage.wait_at_hub(game, lambda s: s["hung"], "it hangs")
    assert names(there) == ["application_appears_hung"] and there["events"][0]["data"]["seconds_since_heartbeat"] > 0.3
    game.heartbeat()
    game.pause()
    there = stage.wait_at_hub(game, lambda s: not s["hung"], "it has recovered")
    assert names(there) == ["application_appears_hung", "application_recovered"]
    assert names(stage.at_hub(paused)) == []


@pytest.mark.parametrize("end", [False, True], ids=["still running", "ended meanwhile"])
def test_a_machine_that_starts_another_program_in_an_outage_has_crashed_nothing(lab, end):
    """The hub takes what it has not heard of lately for crashed when its machine comes with a new session."""
    stage = lab(hub={"heartbeat_timeout": "1s"})
    first = stage.program(product="first")
    first.heartbeat()
    wait_until(lambda: stage.at_hub(first).get("last_heartbeat"), what="the hub has heard of it")
    stage.go_offline()
    wait_until(lambda: stage.at_hub(first)["suspended"], what="the hub has not heard of it for long")
    if end:
        first.end()
    second = stage.program(product="second")
    stage.come_back()
    stage.wait_delivered()
    wait_until(lambda: stage.at_hub(second), what="the second is at the hub")
    there = stage.at_hub(first)
    assert not there["crashed"] and ("ended_at" in there) == end


def test_what_a_program_tells_beside_is_at_the_hub(lab):
    stage = lab()
    game = stage.program(product="game", colour="blue", build={"n": [1, None]})
    stage.go_offline()
    tool = stage.program(product="tool", colour="red")
    stage.come_back()
    stage.wait_delivered()
    there = stage.at_hub(game)
    assert (there["colour"], there["build"]) == ("blue", {"n": [1, None]})
    assert stage.at_hub(tool)["colour"] == "red"
    assert game.look()["colour"] == "blue"
