"""The real git as a client, in a world of its own: own home, no system configuration, no prompt, no helper."""

import os
import subprocess
import time

from .wait import wait_until


def hermetic_environment(home):
    """The environment of every program in a story."""
    os.makedirs(str(home), exist_ok=True)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home), "LC_ALL": "C", "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.path.join(str(home), ".gitconfig"),
        "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_ADVICE": "0",
        "GIT_AUTHOR_NAME": "A Person", "GIT_AUTHOR_EMAIL": "person@example.com",
        "GIT_COMMITTER_NAME": "A Person", "GIT_COMMITTER_EMAIL": "person@example.com",
        "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000",
    }


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    @property
    def ok(self):
        return self.code == 0

    def __repr__(self):
        return "<exit %d in %.2f s\n%s\n%s>" % (self.code, self.seconds, self.out[-2000:], self.err[-2000:])


class Running:
    """A git that is under way."""

    def __init__(self, args, env, cwd, stdin=None):
        self.started = time.monotonic()
        self.args = args
        self.process = subprocess.Popen(args, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, start_new_session=True)

    def wait(self, limit=60):
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError("%s is not done after %d s:\n%s" % (" ".join(self.args), limit,
                                                                   err.decode("utf-8", "replace"))) from None
        return Result(self.process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"),
                      time.monotonic() - self.started)

    def running(self):
        return self.process.poll() is None

    def kill(self):
        """End it with its children, as Ctrl-C in a terminal would."""
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass


class Clone:
    """A working copy (or bare clone) on disk."""

    def __init__(self, git, path, options):
        self.git, self.path, self.options = git, path, options

    def run(self, *args, check=True):
        return self.git.run(*self.options, "-C", self.path, *args, check=check)

    def fetch(self, *args, check=True):
        return self.run("fetch", *args, check=check)

    def refs(self):
        return self.run("for-each-ref", "--format=%(refname) %(objectname) %(symref)").out

    def head(self):
        return self.run("symbolic-ref", "-q", "HEAD", check=False).out + self.run("rev-parse", "HEAD", check=False).out

    def rev(self, name):
        return self.run("rev-parse", name).out.strip()


class Git:
    def __init__(self, directory, env):
        self.dir = str(directory)
        self.env = env
        self.serial = 0
        self.under_way = []
        os.makedirs(self.dir, exist_ok=True)

    def start(self, *args, env=None):
        r = Running(["git", *args], dict(self.env, **(env or {})), self.dir)
        self.under_way.append(r)
        return r

    def run(self, *args, check=True, limit=60, env=None):
        result = self.start(*args, env=env).wait(limit)
        if check and result.code != 0:
            raise AssertionError("git %s: %r" % (" ".join(args), result))
        return result

    def new_path(self):
        self.serial += 1
        return os.path.join(self.dir, "clone-%d" % self.serial)

    @staticmethod
    def options(protocol=2, proxy=None, config=()):
        out = ["-c", "protocol.version=%d" % protocol]
        if proxy:
            out += ["-c", "http.proxy=" + proxy]
        for item in config:
            out += ["-c", item]
        return out

    def clone(self, url, *args, protocol=2, proxy=None, config=()):
        """Clone; fails the story when git fails. The options are used again by the clone's own fetches."""
        options = self.options(protocol, proxy, config)
        path = self.new_path()
        self.run(*options, "clone", "-q", *args, url, path)
        return Clone(self, path, options)

    def try_clone(self, url, *args, protocol=2, proxy=None, config=(), limit=60):
        """Clone; returns the Result, with .path and .clone, whatever git says."""
        running = self.start_clone(url, *args, protocol=protocol, proxy=proxy, config=config)
        result = running.wait(limit)
        result.path, result.clone = running.path, running.clone
        return result

    def start_clone(self, url, *args, protocol=2, proxy=None, config=()):
        """A clone under way: .wait() for its Result."""
        options = self.options(protocol, proxy, config)
        path = self.new_path()
        running = self.start(*options, "clone", "-q", *args, url, path)
        running.path, running.clone = path, Clone(self, path, options)
        return running

    def ls_remote(self, url, *args, protocol=2, proxy=None, config=(), check=True):
        """The Result of ls-remote; .refs is {name: id} and .lines its whole output (--symref adds the HEAD line)."""
        options = [a for a in args if a.startswith("-")]        # git takes what follows the URL for patterns
        patterns = [a for a in args if not a.startswith("-")]
        result = self.run(*self.options(protocol, proxy, config), "ls-remote", *options, url, *patterns, check=check)
        result.lines = result.out.splitlines()
        result.refs = {}
        for line in result.lines:
            value, name = line.split("\t", 1)
            if not value.startswith("ref: "):
                result.refs[name] = value
        return result

    def finish(self):
        for r in self.under_way:
            if r.running():
                r.kill()
                r.process.wait()


def assert_same_as_direct(clone, direct):
    """What came through weir is sound, and equals what came straight from the upstream."""
    for one in (clone, direct):
        check = one.run("fsck", "--full", check=False)
        assert check.ok, "fsck of %s: %r" % (one.path, check)
    assert_equal("refs", clone.refs().splitlines(), direct.refs().splitlines())
    assert_equal("HEAD", clone.head().splitlines(), direct.head().splitlines())
    assert_equal("shallow", read_git_file(clone, "shallow"), read_git_file(direct, "shallow"))
    bare = clone.run("rev-parse", "--is-bare-repository").out.strip() == "true"
    if not bare:
        assert_equal("files", clone.run("ls-files", "-s").out.splitlines(), direct.run("ls-files", "-s").out.splitlines())
        assert clone.run("status", "--porcelain").out == ""


def assert_equal(what, ours, theirs):
    ours, theirs = ours or [], theirs or []
    assert ours == theirs, "%s differ; only through weir: %r; only directly: %r" % (
        what, [x for x in ours if x not in theirs], [x for x in theirs if x not in ours])


def read_git_file(clone, name):
    path = clone.run("rev-parse", "--git-path", name).out.strip()
    try:
        with open(os.path.join(clone.path, path)) as f:
            return sorted(f.read().split())
    except FileNotFoundError:
        return None


__all__ = ["Git", "Clone", "Result", "Running", "assert_same_as_direct", "hermetic_environment", "wait_until"]
