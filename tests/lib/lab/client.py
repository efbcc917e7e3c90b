"""A program that reports by libweir-client, as a story's actor: tests/client/client_actor.c, told line by line.

    p = ClientProgram(port)                 open; p.event("step", 1); p.flush(); p.stats(); p.close()
    p = ClientProgram(port, program=path)   another build of it, see compile_client()
"""

import glob
import json
import os
import signal
import subprocess

from .daemon import REPOSITORY, binary, sanitizer_environment
from .origin import Origin
from .wait import wait_until

SOURCES = os.path.join(REPOSITORY, "src", "client")
LIMIT_MS = 30000
# A sanitizer would take signals for itself; ours are to arrive. And a program may end without ending its threads.
CRASHABLE = "handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:report_thread_leaks=0:"


def built(*parts):
    path = os.path.join(os.path.dirname(os.path.abspath(binary())), *parts)
    assert os.path.exists(path), "%s is not built" % path
    return path


def compile_client(folder, *options, source="tests/client/client_actor.c", name="actor"):
    """The library and a program, from their sources, in one piece, with these options of the compiler; its path."""
    out = os.path.join(str(folder), name)
    sources = [os.path.join(REPOSITORY, source)]
    sources += [f for f in sorted(glob.glob(SOURCES + "/*.c")) if not f.endswith("_test.c")]
    done = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror",
                           "-Wno-unused-parameter", "-I", os.path.join(REPOSITORY, "src"),
                           "-I", os.path.join(SOURCES, "include"), *options, "-o", out, *sources, "-pthread"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return out


class FakeDaemon(Origin):
    """Answers as a daemon does, but for the paths that a story names: {"/event": 503}."""

    def __init__(self, answers=None):
        self.answers = dict(answers or {})
        self.registered = 0
        super().__init__()

    def _do(self, request):
        status = self.answers.get(request.path, 200)
        if status != 200:
            return status, [], b"no\n"
        if request.path == "/register":
            self.registered += 1
            return 200, [], json.dumps({"session_id": "session-%d" % self.registered}).encode()
        return 200, [], b'{"status":"ok"}'

    def paths(self, session):
        """What was told of a session, in order, without heartbeats."""
        told = [(r.path, json.loads(r.body)) for r in self.seen()]
        return [path for path, body in told if body.get("session_id") == session and path != "/heartbeat"]


class ClientProgram:
    def __init__(self, port, env, program=None, product="game", opened=True, heartbeat_ms=0, answer_ms=0, queue_bytes=0,
                 queue_entries=0, flags=0, log=None):
        self.address = port if isinstance(port, str) else "127.0.0.1:%d" % port
        self.env = dict(env, **sanitizer_environment())
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            self.env[name] = CRASHABLE + self.env.get(name, "")
        self.errors = open(log, "w+b") if log else None
        self.process = subprocess.Popen([program or built("tests", "client", "client_actor")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, env=self.env, text=True, bufsize=1)
        self.pid = self.process.pid
        if opened:
            self.expect("open", product, self.address, heartbeat_ms, answer_ms, queue_bytes, queue_entries, flags)

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, "the program has ended with %s: %s" % (self.process.wait(), self.error_text())
        return json.loads(line)

    def do(self, *words):
        self.say(*words)
        return self.hear()

    def expect(self, *words, code=0):
        got = self.do(*words)
        assert got == code, "%s: %s" % (words, os.strerror(-got) if isinstance(got, int) and got < 0 else got)

    def event(self, name, n=0):
        self.expect("event", name, n)

    def events(self, name, count, start=0):
        for n in range(start, start + count):
            self.event(name, n)

    def state(self, **values):
        self.expect("state", json.dumps(values))

    def metric(self, kind, name, value):
        self.expect("metric", kind, name, value)

    def flush(self, ms=LIMIT_MS):
        self.expect("flush", ms)

    def close(self, ms=LIMIT_MS):
        self.expect("close", ms)

    def stats(self):
        return self.do("stats")

    def wait_stats(self, condition, what, limit=30):
        seen = []

        def look():
            seen[:] = [self.stats()]
            return condition(seen[0])
        try:
            wait_until(look, limit)
        except AssertionError:
            raise AssertionError("waited in vain: %s: %s" % (what, seen)) from None
        return seen[0]

    @property
    def id(self):
        return self.wait_stats(lambda s: s["session_id"], "it is registered")["session_id"]

    def end(self, limit=60):
        """The program ends as it likes; its status."""
        self.process.stdin.close()
        return self.process.wait(limit)

    def error_text(self):
        if not self.errors:
            return ""
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace")

    def finish(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for f in (self.process.stdin, self.process.stdout, self.errors):
            if f:
                try:
                    f.close()
                except BrokenPipeError:
                    pass
