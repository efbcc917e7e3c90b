"""A mirror as a story's stage: upstream, fault proxy, weir, and a client that speaks HTTP to it."""

import os

from .faults import FaultProxy
from .files import KINDS
from .wait import tail, wait_until

NAME = "files"


def options_of_a_mirror(door, name=NAME):
    """The ordinary options of one mirror, with short times."""
    return {"name": name, "listen": "127.0.0.1:0", "upstream": door.url, "upstream_timeout": "4s",
            "upstream_patience": "1s", "outbox": {"retry": {"first": "50ms", "max": "400ms"}}}


class Mirror:
    """`server` is the upstream, `door` the proxy before it, `weir` the daemon. Made by site.mirror()."""

    def __init__(self, site, upstream):
        if isinstance(upstream, str):
            self.server = KINDS[upstream](os.path.join(site.dir, "%s-%d" % (upstream, len(site.mirrors))), site.env)
        else:
            self.server = upstream
        self.door = FaultProxy(self.server.port)
        self.weir = None

    # A client of the mirror

    def ask(self, method, path, body=None, headers=None, timeout=30):
        data = body.encode() if isinstance(body, str) else body
        return self.weir.ask(method, path, headers, data, timeout, NAME)

    def get(self, path, **headers):
        """Headers by keyword, with underscores: get("/a", if_none_match='"x"')."""
        return self.ask("GET", path, None, named(headers))

    def head(self, path, **headers):
        return self.ask("HEAD", path, None, named(headers))

    def put(self, path, body, **headers):
        return self.ask("PUT", path, body, named(headers))

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, named(headers))

    def patch(self, path, body, **headers):
        return self.ask("PATCH", path, body, named(headers))

    def delete(self, path, **headers):
        return self.ask("DELETE", path, None, named(headers))

    def queue(self, method, path, body=None, **headers):
        """A write that has to end up in the outbox; its id."""
        answer = self.ask(method, path, body, named(headers))
        assert answer.status == 202, answer
        return answer.headers["weir-outbox-id"]

    @property
    def port(self):
        return self.weir.ports[NAME]

    # The weather

    def go_offline(self):
        """The upstream is killed, and weir has noticed."""
        self.server.kill()
        self.door.refuse()
        self.notice_down()

    def notice_down(self):
        """The line is bad already: weir is made to notice."""
        self.get("/weather-check")
        self.weir.wait_upstream("down", NAME)

    def come_back(self):
        """The upstream is there again, and weir has noticed."""
        self.server.start()
        self.line_is_back()

    def line_is_back(self):
        self.door.pass_all()
        self.weir.wait_upstream("up", NAME)

    def crash(self):
        """SIGKILL, and up again on the same ports."""
        self.weir.kill9()
        self.weir.restart()

    def wait_text(self, path, text, limit=20):
        """Wait until the upstream has this content."""
        try:
            wait_until(lambda: self.server.text(path) == text, limit)
        except AssertionError:
            raise AssertionError("%s is %r, not %r" % (path, self.server.text(path), text)) from None

    # Ends

    def reports(self):
        out = [("what reached the upstream's door", "\n".join(map(repr, self.door.seen()[-60:])))]
        if hasattr(self.server, "dir"):
            out.append(("the upstream's error log", tail(os.path.join(self.server.dir, "error.log"), 20)))
        return out

    def let_go(self):
        self.door.release()

    def close(self):
        self.door.close()
        self.server.close()


def named(headers):
    return {name.replace("_", "-").title(): value for name, value in headers.items()}
