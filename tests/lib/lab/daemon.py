"""weir itself, as a story's actor: started from a dict, watched through its log, metrics and admin listener."""

import glob
import json
import os
import re
import signal
import subprocess
import threading
import time

from . import wire
from .wait import accepts, tail, wait_until

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SANITIZER = re.compile(r"(ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:|WARNING: ThreadSanitizer).*")
STOP_LIMIT_S = 20
START_LIMIT_S = 20
PORT_LIMIT_S = 15
PORT_TAKEN = "another program does so already"


def binary():
    return os.environ.get("WEIR_BIN") or os.path.join(REPOSITORY, "build", "weir")


def to_yaml(value, indent=0):
    """A dict as YAML of the plain kind that people write. Strings are quoted as in JSON, which YAML also reads."""
    pad = "  " * indent
    out = []
    for key, item in value.items():
        if item is None:
            out.append("%s%s:" % (pad, key))
        elif isinstance(item, dict) and item:
            out.append("%s%s:\n%s" % (pad, key, to_yaml(item, indent + 1)))
        else:
            out.append("%s%s: %s" % (pad, key, json.dumps(item)))
    return "\n".join(out)


def merge(base, more):
    out = dict(base)
    for key, value in more.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def sanitizer_environment():
    """What the caller has set for sanitizers (a log path, say), else ours; and where coverage goes."""
    ours = {"ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1", "TSAN_OPTIONS": "exitcode=99",
            "UBSAN_OPTIONS": "print_stacktrace=1"}
    return {k: os.environ.get(k, v) for k, v in ours.items()} | {
        k: v for k, v in os.environ.items() if k.startswith(("LSAN_", "GCOV_", "LLVM_PROFILE"))}


class Weir:
    """One `weir serve`. Options become weir.yaml; every listener takes port 0 and tells where it is."""

    verb = "serve"

    def __init__(self, directory, env, options, host="git.test", args=(), more_env=None):
        self.dir = str(directory)
        self.env = {**env, **sanitizer_environment(), **(more_env or {})}
        self.host = host
        self.args = list(args)
        self.ports = {}
        self.process = None
        self.expect_alive = False
        self.scheme = "http"
        self.cafile = None
        os.makedirs(self.dir, exist_ok=True)
        self.config_path = os.path.join(self.dir, "weir.yaml")
        self.log_path = os.path.join(self.dir, "weir.log")
        self.configure(options)

    def configure(self, options):
        self.options = options
        self.data_dir = os.path.join(self.dir, options["data_dir"])
        with open(self.config_path, "w") as f:
            f.write(to_yaml(options) + "\n")

    # Life

    def start(self, keep_ports=False):
        """On the ports of before, if wanted: one of those may be somebody's for a moment, as every connection of this
        machine takes one."""
        end = time.monotonic() + PORT_LIMIT_S
        while not self._try_to_start(keep_ports):
            tail = self.tail()
            if not (keep_ports and PORT_TAKEN in tail and time.monotonic() < end):
                raise AssertionError("weir exits with %d:\n%s" % (self.process.wait(10), tail))
            time.sleep(0.2)
        for line in self.stdout:
            m = re.fullmatch(r"listening (\S+) (\S+):(\d+)", line)
            if m:
                self.ports[m.group(1)] = int(m.group(3))
        self.expect_alive = True
        return self

    def _try_to_start(self, keep_ports):
        """False: it has ended."""
        assert os.access(binary(), os.X_OK), "no weir at %s: build it, or set WEIR_BIN" % binary()
        args = [binary(), self.verb, "-c", self.config_path, *self.args]
        if keep_ports:
            for service, port in self.ports.items():
                args += ["--set", "%s.listen=127.0.0.1:%d" % (self.section(service), port)]
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(args, env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        self.stdout = []
        ready = threading.Event()

        def read(pipe):
            for line in pipe:
                self.stdout.append(line.decode("utf-8", "replace").rstrip("\n"))
                if self.stdout[-1] == "ready":
                    ready.set()
            ready.set()

        threading.Thread(target=read, args=(self.process.stdout,), daemon=True).start()
        assert ready.wait(START_LIMIT_S), "weir is not ready after %d s: %s" % (START_LIMIT_S, self.tail())
        return "ready" in self.stdout

    def section(self, service):
        """Where the configuration speaks of a service; a mirror's name stands for its place in the list."""
        names = [m["name"] for m in self.options.get("mirror", [])]
        return "mirror.%d" % names.index(service) if service in names else service

    def stop(self, sig=signal.SIGTERM):
        """The polite way; weir has to end with status 0."""
        self.expect_alive = False
        self.process.send_signal(sig)
        self.wait_stopped()

    def wait_stopped(self, limit=STOP_LIMIT_S):
        self.expect_alive = False
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError("weir has not stopped after %d s" % limit) from None
        assert code == 0, "weir ended with status %d" % code

    def kill9(self):
        self.expect_alive = False
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Stop politely if need be, and start again on the same ports."""
        if self.alive():
            self.stop()
        return self.start(keep_ports=True)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def finish(self):
        """The end of a story: still alive unless the story ended it, ends politely, and no sanitizer had to speak."""
        died = self.expect_alive and not self.alive()
        trouble = None
        try:
            if self.alive():
                self.stop()
        except AssertionError as e:
            trouble = e
        report = SANITIZER.search(self.whole_log())
        assert not report, report.group(0) + "\n" + self.whole_log()[report.start():report.start() + 6000]
        assert not died, "weir died with status %s" % self.process.returncode
        if trouble:
            raise trouble

    # Talking to it

    def url(self, repo, user=None, password=None, host=None, service="git"):
        who = "%s:%s@" % (user, password) if user else ""
        return "%s://%s127.0.0.1:%d/%s/%s" % (self.scheme, who, self.ports[service], host or self.host, repo)

    @property
    def proxy(self):
        """What to set http.proxy to."""
        return "%s://127.0.0.1:%d" % (self.scheme, self.ports["git"])

    def ask(self, method, target, headers=None, body=None, timeout=30, service="git"):
        """A request to the git listener. Answer with .status, .headers, .body, .text."""
        return wire.request(self.ports[service], method, target, headers, body, timeout,
                            self.cafile if service == "git" else None)

    def repo_target(self, repo, what, host=None):
        return "/%s/%s/%s" % (host or self.host, repo, what)

    def ask_ls_refs(self, repo, prefixes=(), auth=None, timeout=30):
        headers = dict(wire.POST_V2, **({"Authorization": auth} if auth else {}))
        return self.ask("POST", self.repo_target(repo, "git-upload-pack"), headers, wire.ls_refs(prefixes), timeout)

    def ask_fetch(self, repo, wants, auth=None, timeout=30):
        """A bare v2 fetch command, without any ls-refs before it."""
        headers = dict(wire.POST_V2, **({"Authorization": auth} if auth else {}))
        return self.ask("POST", self.repo_target(repo, "git-upload-pack"), headers, wire.fetch(wants), timeout)

    def admin(self, method, path, body=None, headers=None):
        """The admin API; `body` is sent as JSON. The answer has .json when it is JSON."""
        data = None if body is None else json.dumps(body).encode()
        more = {"Content-Type": "application/json"} if data is not None else {}
        a = wire.request(self.ports["admin"], method, path, dict(more, **(headers or {})), data)
        a.json = json.loads(a.body) if "json" in a.headers.get("content-type", "") else None
        return a

    def status(self):
        a = self.admin("GET", "/api/v1/status")
        assert a.status == 200, a
        return a.json

    def health(self):
        a = self.admin("GET", "/healthz?detailed=true")
        return a.json

    def command(self, *args, env=None, stdin=None, limit=30, cwd=None):
        """Another weir command, pointed at this daemon. Returns (code, stdout, stderr)."""
        more = {"WEIR_ADMIN": "127.0.0.1:%d" % self.ports["admin"]} if "admin" in self.ports else {}
        return run_weir(*args, env=dict(self.env, **more, **(env or {})), cwd=cwd or self.dir, limit=limit)

    # Upstreams and repositories

    def switch_upstream(self, enabled, name=None):
        a = self.admin("PUT", "/api/v1/upstreams/" + (name or self.host), {"enabled": enabled})
        assert a.status in (200, 204), a

    def upstream(self, name=None):
        items = self.admin("GET", "/api/v1/upstreams").json["items"]
        return next(u for u in items if u["name"] == (name or self.host))

    def wait_upstream(self, state, name=None, limit=20):
        wait_until(lambda: self.upstream(name)["state"] == state, limit, "upstream is %s" % state)

    def repo(self, repo, host=None):
        """What the admin API says of a repository, or None."""
        items = self.admin("GET", "/api/v1/repos").json["items"]
        for item in items:
            if item["host"] == (host or self.host) and item["path"].removesuffix(".git") == repo:
                return item
        return None

    def wait_filled(self, repo, host=None, limit=30):
        """Wait until all of sync_refs, as upstream last showed it, is here to be served, and no sync is under way."""
        def filled():
            r = self.repo(repo, host)
            return r and r["state"] == "ready" and r["servable_at"] and r["servable_at"] >= r["seen_at"] and r
        return wait_until(filled, limit, "%s is filled" % repo)

    def evict(self, repo):
        """Drop a repository; what is filling or reading it (a sync in the background, too) is waited for."""
        answer = wait_until(lambda: self.unless_busy(repo), 30, "%s can be evicted" % repo)
        assert answer.status < 300, answer

    def unless_busy(self, repo):
        answer = self.admin("POST", "/api/v1/repos/evict", {"repo": self.host + "/" + repo})
        return None if answer.status == 409 else answer

    def invalidate(self, repo):
        assert self.admin("POST", "/api/v1/repos/invalidate", {"repo": self.host + "/" + repo}).status < 300

    # The outbox

    def outbox(self, state=None, service=None):
        """The entries, in queue order, of all pages."""
        wanted = "".join("&%s=%s" % (k, v) for k, v in (("state", state), ("service", service)) if v)
        items, after = [], ""
        while True:
            a = self.admin("GET", "/api/v1/outbox?limit=1000%s%s" % (wanted, "&after=" + after if after else ""))
            assert a.status == 200, a
            items += a.json["items"]
            after = a.json["next"]
            if not after:
                return items

    def entry(self, entry_id):
        a = self.admin("GET", "/api/v1/outbox/" + entry_id)
        assert a.status == 200, a
        return a.json

    def entry_do(self, entry_id, verb, body=None):
        """retry, resolve (with {"keep": ...}) or drop; the answer."""
        if verb == "drop":
            return self.admin("DELETE", "/api/v1/outbox/" + entry_id)
        return self.admin("POST", "/api/v1/outbox/%s/%s" % (entry_id, verb), body)

    def wait_entry(self, entry_id, state, limit=20):
        """Wait until an entry is in this state; the entry."""
        return self.wait_entry_that(entry_id, lambda e: e["state"] == state, state, limit)

    def wait_entry_that(self, entry_id, condition, what, limit=20):
        found = []

        def look():
            found[:] = [self.entry(entry_id)]
            return condition(found[0])
        try:
            wait_until(look, limit)
        except AssertionError:
            raise AssertionError("waited in vain: %s: %s" % (what, found)) from None
        return found[0]

    def outbox_bodies(self):
        """The files that hold large bodies."""
        pattern = os.path.join(self.data_dir, "**", "bodies", "**")
        return sorted(p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p))

    def outbox_count(self, *states):
        return sum(self.metric("weir_outbox_entries", state=s) for s in states)

    def wait_outbox_empty(self, limit=30):
        """Nothing waits, is being sent, or needs anybody."""
        try:
            wait_until(lambda: self.outbox_count("queued", "sending", "held", "conflict") == 0, limit)
        except AssertionError:
            left = [e for e in self.outbox() if e["state"] not in ("applied", "dropped", "resolved")]
            raise AssertionError("the outbox is not empty: %s" % left[:20]) from None

    # Figures

    def metrics_text(self, service="admin"):
        a = self.ask("GET", "/metrics", service=service)
        assert a.status == 200, a
        return a.text

    def metric(self, name, **labels):
        """The sum over all series of this name that have these labels; there must be at least one."""
        values = [v for n, l, v in series(self.metrics_text()) if n == name and labels.items() <= l.items()]
        assert values, "no metric %s with %s" % (name, labels)
        return sum(values)

    # The log

    def whole_log(self):
        if not self.process:
            return ""                   # configured, never started
        with open(self.log_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def log_lines(self, event, *words, **fields):
        """The lines of this event that contain these words and whose fields have these values (...: any)."""
        return [l for l in self.whole_log().splitlines() if is_event(l, event, fields) and all(w in l for w in words)]

    def log_has(self, event, *words, **fields):
        return bool(self.log_lines(event, *words, **fields))

    def wait_log(self, event, *words, limit=20, **fields):
        wait_until(lambda: self.log_has(event, *words, **fields), limit, "log line %s %s %s" % (event, words, fields))

    def tail(self, lines=60):
        """The end of the log, without what stories themselves asked the admin listener."""
        return "\n".join([l for l in tail(self.log_path, 100000).splitlines() if "listener=admin" not in l][-lines:])


def log_fields(line):
    """The key=value pairs of a log line."""
    out = {}
    for m in re.finditer(r'([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|\S*)', line):
        value = m.group(2)
        out[m.group(1)] = value[1:-1] if value.startswith('"') else value
    return out


def is_event(line, event, fields):
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            return False
        if event not in found.values():
            return False
    else:
        if not re.search(r"(?:^|[\s=])%s(?:\s|$)" % re.escape(event), line):
            return False
        found = log_fields(line)
    return all(k in found and (v is ... or str(found[k]) == str(v)) for k, v in fields.items())


def series(text):
    """Parse the Prometheus text format: (name, labels, value) of each sample."""
    for line in text.splitlines():
        m = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?', line)
        if not m or line.startswith("#"):
            continue
        labels = dict((k, v.replace('\\"', '"')) for k, v in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(2) or ""))
        yield m.group(1), labels, float(m.group(3))


def run_weir(*args, env=None, cwd=None, limit=30):
    """Any weir command. Returns (code, stdout, stderr)."""
    r = subprocess.run([binary(), *args], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=limit)
    err = r.stderr.decode("utf-8", "replace")
    assert not SANITIZER.search(err), err
    return r.returncode, r.stdout.decode("utf-8", "replace"), err


__all__ = ["Weir", "binary", "merge", "run_weir", "series", "log_fields", "to_yaml", "accepts"]
