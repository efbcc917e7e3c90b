"""A site: one upstream, a fault proxy before it, weir, and git, all in one folder of their own."""

import functools
import os

from . import postgres
from .daemon import Weir, merge
from .faults import FaultProxy
from .gitkit import Git, hermetic_environment
from .hub import Hub
from .mirror import Mirror, options_of_a_mirror
from .upstream import Upstream
from .wait import tail, wait_until

# Short times, so that outages take stories little time; everything else is as shipped.
OPTIONS = {
    "data_dir": "data",
    "shutdown_grace": "5s",
    "log": {"level": "debug"},
    "links": {"connect_timeout": "2s", "stall_timeout": "5s", "probe_first": "100ms", "probe_max": "300ms"},
    "admin": {"listen": "127.0.0.1:0"},
    "git": {"listen": "127.0.0.1:0", "upstream_timeout": "15s", "upstream_patience": "1s"},
}


class Site:
    """Actors are made when first asked for; finish() ends them all."""

    def __init__(self, directory, database="sqlite"):
        self.dir = str(directory)
        self.database = database        # of hubs: sqlite, or postgresql
        self.env = hermetic_environment(os.path.join(self.dir, "home"))
        self.weirs = []
        self.mirrors = []

    @functools.cached_property
    def upstream(self):
        return Upstream(os.path.join(self.dir, "upstream"), self.env)

    @functools.cached_property
    def proxy(self):
        return FaultProxy(self.upstream.port)

    @functools.cached_property
    def git(self):
        return Git(os.path.join(self.dir, "clones"), self.env)

    def was_asked_for(self, actor):
        return actor in self.__dict__

    @property
    def weir(self):
        """The story's daemon; started with the ordinary options unless start_weir() was called before."""
        return self.weirs[0] if self.weirs else self.start_weir()

    def options(self, **sections):
        """The ordinary options with changes: options(git={"refs_ttl": "5m"}, limits={...}). A weir with mirrors has a git
        listener only when there are options for one."""
        if "mirror" in sections and "git" not in sections:
            return merge({k: v for k, v in OPTIONS.items() if k != "git"}, sections)
        upstreams = {"git": {"upstreams": [{"match": "git.test", "url": self.proxy.url}]}}
        return merge(merge(OPTIONS, upstreams), sections)

    def new_weir(self, name=None, args=(), env=None, **sections):
        """A daemon that is configured but not started."""
        name = name or "weir-%d" % (len(self.weirs) + 1)
        weir = Weir(os.path.join(self.dir, name), self.env, self.options(**sections), args=args, more_env=env)
        self.weirs.append(weir)
        return weir

    def start_weir(self, name=None, args=(), env=None, **sections):
        return self.new_weir(name, args, env, **sections).start()

    def mirror(self, server="nginx", weir=None, args=(), env=None, **options):
        """A weir with one mirror, `files`, before a fault proxy before an upstream: lighttpd, nginx, apache, or an
        actor that a story has made. Options are the mirror's; weir={...}: sections beside it."""
        mirror = Mirror(self, server)
        self.mirrors.append(mirror)
        sections = dict(weir or {}, mirror=[merge(options_of_a_mirror(mirror.door), options)])
        mirror.weir = self.start_weir(args=args, env=env, **sections)
        return mirror

    def hub(self, name=None, args=(), env=None, weir=None, **options):
        """A running `weir hub` with an admin listener. Options are the hub's; weir={...}: sections beside it."""
        name = name or "hub-%d" % (len(self.weirs) + 1)
        sections = merge({k: v for k, v in OPTIONS.items() if k != "git"}, weir or {})
        if self.database == "postgresql":
            options.setdefault("database", postgres.the_server().database())
        sections["hub"] = dict({"listen": "127.0.0.1:0"}, **options)
        self.weirs.append(Hub(os.path.join(self.dir, name), self.env, sections, args=args, more_env=env))
        return self.weirs[-1].start()

    def warm(self, *names):
        """Have weir hold all of these repositories, by cloning each as a client would."""
        for name in names:
            self.git.clone(self.weir.url(name), "--mirror")
            self.weir.wait_filled(name)

    def go_offline(self, user=None, password=None):
        """The upstream is killed, and weir has noticed."""
        self.proxy.refuse()
        self.upstream.stop()
        self.git.run("ls-remote", self.weir.url("weather/check", user, password), check=False)
        self.weir.wait_upstream("down")

    def come_back(self):
        """The upstream is there again, and weir has noticed."""
        if not self.upstream.process:
            self.upstream.start()
        self.proxy.pass_all()
        self.weir.wait_upstream("up")
        assert self.weir.metric("weir_upstream_up", upstream="git.test") == 1

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        return path

    def reports(self):
        out = [("log of " + os.path.basename(w.dir), w.tail()) for w in self.weirs]
        for mirror in self.mirrors:
            out += mirror.reports()
        if self.was_asked_for("proxy"):
            out.append(("upstream's error log", tail(os.path.join(self.upstream.dir, "error.log"), 30)))
            out.append(("what reached the upstream's door", "\n".join(map(repr, self.proxy.seen()[-40:]))))
        return out

    def finish(self):
        trouble = []
        if self.was_asked_for("git"):
            self.git.finish()
        if self.was_asked_for("proxy"):
            self.proxy.release()
        for mirror in self.mirrors:
            mirror.let_go()
        for weir in self.weirs:
            try:
                weir.finish()
            except AssertionError as e:
                trouble.append(str(e))
        for mirror in self.mirrors:
            mirror.close()
        if self.was_asked_for("proxy"):
            self.proxy.close()
        if self.was_asked_for("upstream"):
            self.upstream.stop()
        assert not trouble, "\n".join(trouble)


__all__ = ["Site", "wait_until"]
