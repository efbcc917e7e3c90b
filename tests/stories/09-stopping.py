"""Stopping politely: what is under way is finished, nothing new is taken, and it ends in time."""

import os
import signal
import time

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import accepts, wait_until
from lab.wire import POST_V2, Raw, fetch


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_clone_under_way_is_finished(site, sig):
    site.upstream.ordinary_repo("org/project").bulk(200)
    weir = site.start_weir(shutdown_grace="30s")
    site.proxy.hold(100 * 1024, match="command=fetch")
    clone = site.git.start_clone(weir.url("org/project"), "--mirror")
    site.proxy.wait_held()
    weir.process.send_signal(sig)
    weir.expect_alive = False
    wait_until(lambda: not accepts(weir.ports["git"]), what="new connections are refused")
    assert clone.running() and weir.alive()
    site.proxy.release()
    result = clone.wait()
    assert result.ok, result
    weir.wait_stopped()
    assert_same_as_direct(clone.clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))


def test_a_slow_reader_of_a_cached_answer_gets_all_of_it(site):
    repo = site.upstream.ordinary_repo("org/project")
    tip = repo.bulk(4096)               # more than socket buffers hold
    weir = site.start_weir(shutdown_grace="30s")
    site.warm("org/project")
    body = fetch([tip])
    head = "POST /git.test/org/project/git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n" % (
        weir.ports["git"], len(body)) + "".join("%s: %s\r\n" % item for item in POST_V2.items())
    with Raw(weir.ports["git"]) as raw:
        raw.send(head + "Connection: close\r\n\r\n").send(body)
        raw.read_until(b"\r\n\r\n")
        weir.process.send_signal(signal.SIGTERM)
        weir.expect_alive = False
        wait_until(lambda: not accepts(weir.ports["git"]), what="new connections are refused")
        assert weir.alive()
        answer = raw.read_to_end()
    weir.wait_stopped()
    assert len(answer) > 4096 * 1024 and answer.rstrip().endswith((b"0000", b"0"))


def test_nobody_waits_longer_than_the_grace(site):
    site.upstream.ordinary_repo("org/project").bulk(200)
    weir = site.start_weir(shutdown_grace="1s", links={"stall_timeout": "60s"})
    site.proxy.hold(100 * 1024, match="command=fetch")
    clone = site.git.start_clone(weir.url("org/project"), "--mirror")
    site.proxy.wait_held()
    began = time.monotonic()
    weir.stop()
    assert time.monotonic() - began < 8
    assert not clone.wait().ok          # and is not led to believe that this was all


def test_idle_connections_do_not_hold_it_up(site):
    weir = site.start_weir(shutdown_grace="30s")
    idle = [Raw(weir.ports[service]) for service in ("git", "admin") for _ in range(20)]
    kept = Raw(weir.ports["git"])
    kept.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert kept.answer().status == 200
    began = time.monotonic()
    weir.stop()
    assert time.monotonic() - began < 8
    for raw in idle + [kept]:
        raw.close()


def test_what_was_cached_is_there_after_a_polite_stop(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    site.weir.restart()
    site.go_offline()
    assert_same_as_direct(site.git.clone(site.weir.url("org/project"), "--mirror"), direct)


def test_a_second_signal_does_not_make_a_mess(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(shutdown_grace="2s")
    site.warm("org/project")
    weir.process.send_signal(signal.SIGTERM)
    weir.process.send_signal(signal.SIGTERM)
    weir.wait_stopped()
    weir.restart()
    site.go_offline()
    assert site.git.try_clone(weir.url("org/project")).ok


def test_no_child_survives(site):
    site.upstream.ordinary_repo("org/project").bulk(200)
    weir = site.start_weir(shutdown_grace="1s")
    site.proxy.hold(100 * 1024, match="command=fetch")
    clone = site.git.start_clone(weir.url("org/project"))
    site.proxy.wait_held()
    weir.stop()
    clone.wait()
    wait_until(lambda: not children_in(weir.data_dir), what="no git of weir's is left")


def children_in(folder):
    """Processes whose command line or working folder names this folder."""
    out = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open("/proc/%s/cmdline" % name, "rb") as f:
                line = f.read()
            if folder.encode() in line or os.readlink("/proc/%s/cwd" % name).startswith(folder):
                out.append((name, line))
        except OSError:
            pass
    return out
