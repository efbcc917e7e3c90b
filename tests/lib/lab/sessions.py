"""Sessions as a story's stage: a program that reports, the daemon beside it, and the hub far away.

    lab = Sessions(site)                    weir serve and weir hub, both running, and a door between them
    lab.go_offline(); lab.come_back()       the door is shut, and the daemon knows; it is open, and the daemon knows
    lab.hub.kill9(); lab.hub.start_again()  the hub itself goes and comes back on its port
    p = lab.program()                       registers with the daemon: p.id
    p.event("saved", data={"n": 1})         each call is one request on a kept-alive connection, answered 200
    lab.wait_delivered()                    nothing waits any more
    lab.hub.session(p.id)                   what the hub has of it
"""

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import uuid

from . import postgres, wire
from .daemon import Weir, binary, merge
from .faults import FaultProxy
from .origin import Origin
from .wait import accepts, wait_until

OPTIONS = {
    "data_dir": "data",
    "shutdown_grace": "5s",
    "log": {"level": "debug"},
    "links": {"connect_timeout": "2s", "stall_timeout": "5s", "probe_first": "50ms", "probe_max": "200ms"},
    "admin": {"listen": "127.0.0.1:0"},
}
DAEMON = {"listen": "127.0.0.1:0", "batch_interval": "100ms", "retry": {"first": "50ms", "max": "300ms"}}


class Refused(AssertionError):
    def __init__(self, answer):
        super().__init__(repr(answer))
        self.answer = answer


class Program:
    """A program that reports. Its connection is opened anew when the daemon was away; with repeats = False nothing is
    sent again that the daemon may have heard."""

    repeats = True

    def __init__(self, port, product="game", version="1.0", pid=0, register=True, **more):
        self.port = port
        self.conn = None
        self.id = None
        if register:
            self.id = self.tell("/register", product=product, version=version, parent_pid=pid, **more)["session_id"]
            assert isinstance(self.id, str) and self.id

    def send(self, method, path, body=None, headers=None):
        """One request: the answer with .status, .text and .json."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        for attempt in (0, 1):
            fresh = self.conn is None
            if fresh:
                self.conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                self.conn.request(method, path, data, headers or {})
                r = self.conn.getresponse()
                a = wire.Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
                break
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.conn.close()           # an idle connection that the daemon had closed
                self.conn = None
                if fresh or attempt or not self.repeats:
                    raise
            except OSError:
                self.conn.close()
                self.conn = None
                raise
        if a.headers.get("connection") == "close":
            self.conn.close()
            self.conn = None
        a.json = json.loads(a.body) if "json" in a.headers.get("content-type", "") else None
        return a

    def tell(self, path, **body):
        """A POST that has to be answered 200; its JSON."""
        a = self.send("POST", path, body)
        if a.status != 200:
            raise Refused(a)
        return a.json

    def state(self, **state):
        return self.tell("/state", session_id=self.id, state=state)

    def event(self, name, **more):
        return self.tell("/event", session_id=self.id, name=name, **more)

    def metric(self, name, value, **more):
        return self.tell("/metric", session_id=self.id, name=name, value=value, **more)

    def heartbeat(self):
        return self.tell("/heartbeat", session_id=self.id)

    def pause(self):
        return self.tell("/pause_heartbeat", session_id=self.id)

    def resume(self):
        return self.tell("/resume_heartbeat", session_id=self.id)

    def end(self):
        return self.tell("/end", session_id=self.id)

    def look(self, session_id=None):
        a = self.send("GET", "/session?session_id=" + (session_id or self.id))
        if a.status != 200:
            raise Refused(a)
        return a.json

    def close(self):
        if self.conn:
            self.conn.close()


class Child:
    """A process whose end a daemon can watch."""

    def __init__(self, uid=None):
        self.process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE,
                                        user=uid, start_new_session=True)
        self.pid = self.process.pid

    def end(self, sig=None):
        """By a signal, or properly; and its parent has noticed."""
        if sig:
            self.process.send_signal(sig)
        else:
            self.process.stdin.close()
        self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Hub(Weir):
    """One `weir hub`."""

    verb = "hub"

    def start_again(self):
        return self.start(keep_ports=True)

    def hear(self, method, path, body=None, headers=None):
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        a = wire.request(self.ports["hub"], method, path, headers, data)
        a.json = json.loads(a.body) if "json" in a.headers.get("content-type", "") else None
        return a

    def session(self, session_id, headers=None):
        a = self.hear("GET", "/api/sessions/" + session_id, headers=headers)
        assert a.status == 200, a
        return a.json

    def sessions(self):
        return self.hear("GET", "/api/data/sessions").json

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.ports["hub"]


class Daemon(Weir):
    def tail(self, lines=60):
        """Without what stories ask again and again."""
        return "\n".join([l for l in super().tail(2000).splitlines() if "path=/queue" not in l][-lines:])


class Sessions:
    """The stage. Options are those of the daemon's section; hub={...}: of the hub's; weir={...}: further sections; env={...}: of
    the daemon's process."""

    def __init__(self, site, hub=None, weir=None, start=True, server=None, env=None, **options):
        self.site = site
        self.programs, self.children = [], []
        self.hub = self.door = None
        if site.database == "postgresql":
            hub = dict({"database": postgres.the_server().database()}, **(hub or {}))
        if server is None:
            self.hub = Hub(os.path.join(site.dir, "hub"), site.env,
                           merge(OPTIONS, {"hub": merge({"listen": "127.0.0.1:0"}, hub or {})}))
            site.weirs.append(self.hub)
            self.hub.start()
            self.door = FaultProxy(self.hub.ports["hub"])
            server = self.door.url
        sections = {"sessions": merge(merge(DAEMON, {"server": server}), options)}
        self.weir = Daemon(os.path.join(site.dir, "daemon"), site.env, merge(merge(OPTIONS, sections), weir or {}), more_env=env)
        site.weirs.append(self.weir)
        if start:
            self.weir.start()

    @property
    def port(self):
        return self.weir.ports["sessions"]

    def program(self, *args, **more):
        p = Program(self.port, *args, **more)
        self.programs.append(p)
        return p

    def child(self, uid=None):
        c = Child(uid)
        self.children.append(c)
        return c

    def close(self):
        for c in self.children:
            c.close()
        for p in self.programs:
            p.close()
        if self.door:
            self.door.close()

    def go_offline(self):
        self.door.refuse()
        Program(self.port, product="weather check")         # somebody has to notice
        self.weir.wait_upstream("down", "sessions")

    def come_back(self):
        self.door.pass_all()
        self.weir.wait_upstream("up", "sessions")

    # The daemon

    def queue(self):
        return wire_json(self.port, "/queue")

    def wait_delivered(self, limit=30):
        try:
            wait_until(lambda: self.queue()["entries"] == 0 and self.queue()["held"] == 0, limit)
        except AssertionError:
            left = [e for e in self.weir.outbox() if e["state"] != "applied"]
            raise AssertionError("not all is delivered: %s %s" % (self.queue(), left[:20])) from None

    def flush(self):
        assert Program(self.port, register=False).send("POST", "/flush").status == 200

    def item(self, session_id):
        """A session as the admin API has it, by either id."""
        for item in self.weir.admin("GET", "/api/v1/sessions").json["items"]:
            if session_id in (item["id"], item["local_id"]):
                return item
        return None

    # Both sides

    def hub_id(self, session_id, limit=30):
        """The hub's id of a session, when it has one."""
        return wait_until(lambda: not self.item(session_id)["id"].startswith("local-session-")
                          and self.item(session_id)["id"], limit, "the hub knows " + session_id)

    def at_hub(self, program):
        return self.hub.session(self.hub_id(program.id))

    def wait_at_hub(self, program, condition, what, limit=30):
        """Wait until the hub's record of a program's session is so; the record."""
        seen = []

        def look():
            seen[:] = [self.at_hub(program)]
            return condition(seen[0])
        try:
            wait_until(look, limit)
        except AssertionError:
            raise AssertionError("waited in vain: %s: %s" % (what, json.dumps(seen, indent=1)[:4000])) from None
        return seen[0]


def wire_json(port, path):
    a = wire.request(port, "GET", path)
    assert a.status == 200, a
    return json.loads(a.body)


def names(session):
    return [e["name"] for e in session["events"]]


class DropIn:
    """weir under one of the original's names, in a folder of its own, with the original's configuration."""

    def __init__(self, directory, name, env, config=None, config_name=None, through=None):
        self.dir = str(directory)
        os.makedirs(self.dir, exist_ok=True)
        self.name = name
        self.path = os.path.join(self.dir, name)
        if not os.path.lexists(self.path):
            os.symlink(os.path.abspath(binary()), self.path)
        self.env = dict(env)
        self.config_path = os.path.join(self.dir, config_name or {"datacat-daemon": "daemon_config.json",
                                                                  "datacat-server": "config.json"}[name])
        self.config = config
        if config is not None:
            with open(self.config_path, "w") as f:
                f.write(config if isinstance(config, str) else json.dumps(config))
        self.through = through or []
        self.process = None

    def start(self, port, limit=20, stderr=None):
        """Started as clients do: output into pipes that nobody reads."""
        self.port = port = int(port)
        self.process = subprocess.Popen([*self.through, self.path], cwd=self.dir, env=self.env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=stderr or subprocess.PIPE)
        wait_until(lambda: accepts(port) or self.process.poll() is not None, limit,
                   "%s accepts connections" % self.name)
        assert self.process.poll() is None, "%s ended with %s: %s" % (
            self.name, self.process.returncode, self.process.stderr.read() if not stderr else "")
        return self

    def wait_end(self, limit=60):
        return self.process.wait(limit)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self, limit=20):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(limit)

    def errors(self):
        """Standard error, after its end."""
        return self.process.stderr.read().decode("utf-8", "replace")


class OldServer(Origin):
    """The original's server, as far as a daemon can see: no keys, no batches. A story may script its answers, kill()
    it, and start() it again; what it took is kept."""

    def __init__(self, key=None):
        self.key = key
        self.taken = {}                 # session id -> [(kind, body)], in order
        self.made = []                  # bodies of creations
        super().__init__()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def of(self, session_id, kind=None):
        with self.lock:
            return [body for k, body in self.taken.get(session_id, []) if kind in (None, k)]

    def kinds(self, session_id):
        with self.lock:
            return [k for k, _ in self.taken.get(session_id, []) if k != "heartbeat"]

    def _do(self, request):
        parts = request.path.strip("/").split("/")
        if request.path == "/health":
            return self._say({"status": "healthy", "service": "datacat-server", "version": "1.0.0"})
        if self.key and request.headers.get("authorization") != "Bearer " + self.key:
            return 401, [], b"Unauthorized\n"
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if request.path == "/api/data/sessions" and request.method == "GET":
            return self._say([self._session(i) for i in self.taken])
        if parts[:2] != ["api", "sessions"]:
            return 404, [], b"Not found\n"
        if len(parts) == 2 and request.method == "POST":
            self.made.append(json.loads(body))
            session_id = str(uuid.uuid4())
            self.taken[session_id] = []
            return self._say({"session_id": session_id})
        if len(parts) < 3 or parts[2] not in self.taken:
            return 404, [], b"Session not found\n"
        if len(parts) == 3:
            return self._say(self._session(parts[2]))
        if parts[3] not in ("state", "events", "metrics", "heartbeat", "end", "crash"):
            return 404, [], b"Not found\n"
        self.taken[parts[2]].append((parts[3], json.loads(body) if body else None))
        return self._say({"status": "ok"})

    def _session(self, session_id):
        return {"id": session_id, "events": self.of(session_id, "events"), "metrics": self.of(session_id, "metrics"),
                "state": {}, "state_history": [], "active": not self.of(session_id, "end")}

    @staticmethod
    def _say(value):
        return 200, [("Content-Type", "application/json")], json.dumps(value).encode()
