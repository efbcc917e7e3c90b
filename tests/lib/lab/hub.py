"""A `weir hub` as a story's actor: what DataCat's clients and people ask of it."""

import gzip
import json

from . import wire
from .daemon import Weir


class Hub(Weir):
    verb = "hub"

    # Asking

    def ask(self, method, target, body=None, headers=None, timeout=60, service="hub"):
        """body: bytes as they are, anything else as JSON. The answer has .json when it is JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        a = wire.request(self.ports[service], method, target, headers, data, timeout)
        a.json = json.loads(a.body) if "json" in a.headers.get("content-type", "") and a.body else None
        return a

    def get(self, target, **headers):
        """The JSON of a GET that has to succeed."""
        a = self.ask("GET", target, None, headers)
        assert a.status == 200, a
        return a.json

    def post(self, target, body=None, **headers):
        """The JSON of a POST that has to succeed."""
        a = self.ask("POST", target, body, headers)
        assert a.status == 200, a
        return a.json

    def refuses(self, status, method, target, body=None, headers=None):
        """An error: text/plain, one line. The line."""
        a = self.ask(method, target, body, headers)
        assert a.status == status, (status, a, a.text)
        assert a.headers["content-type"].startswith("text/plain"), a.headers
        assert a.text.endswith("\n") and a.text.count("\n") == 1 and len(a.text) > 5, a.text
        return a.text

    # Sessions

    def create(self, product="game", version="1.0", **more):
        answer = self.post("/api/sessions", dict({"product": product, "version": version}, **more))
        assert list(answer) == ["session_id"]
        return Session(self, answer["session_id"])

    def list(self, query=""):
        return self.get("/api/data/sessions" + (query and "?" + query))

    def ids(self, query=""):
        return [s["id"] for s in self.list(query)]

    def figure(self, what):
        """In MiB, of /proc/PID/status: VmRSS, VmHWM."""
        with open("/proc/%d/status" % self.process.pid) as f:
            return next(int(line.split()[1]) / 1024 for line in f if line.startswith(what + ":"))


class Session:
    """One session at a hub."""

    def __init__(self, hub, identity):
        self.hub, self.id, self.path = hub, identity, "/api/sessions/" + identity

    def now(self):
        return self.hub.get(self.path)

    def do(self, what, body=None):
        assert self.hub.post("%s/%s" % (self.path, what), body) == {"status": "ok"}
        return self

    def state(self, **state):
        return self.do("state", {"state": state})

    def event(self, name, **more):
        return self.do("events", dict(more, name=name))

    def metric(self, name, value, **more):
        return self.do("metrics", dict(more, name=name, value=value))

    def heartbeat(self):
        return self.do("heartbeat", {})

    def end(self):
        return self.do("end", {})

    def crash(self, reason):
        return self.do("crash", {"reason": reason})

    def batch(self, *operations, first=None):
        """Operations as (op, {members}); seq counts from `first`. Or whole dicts."""
        items = [dict(o[1], op=o[0], seq=first + i) if isinstance(o, tuple) else o for i, o in enumerate(operations)]
        return self.hub.post(self.path + "/batch", {"operations": items})


def packed(body):
    return gzip.compress(json.dumps(body).encode())
