"""A PostgreSQL server of Debian's packages as a story's actor: in a folder of its own, on a UNIX socket and a loopback port, with its
syncs on. One for each pytest; each hub gets a database of its own."""

import atexit
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from .wait import free_port, wait_until

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '%s'
max_connections = 60
shared_buffers = 32MB
max_wal_size = 256MB
fsync = on
log_min_messages = warning
log_line_prefix = '%%m [%%p] '
"""


def programs():
    """The folder of the newest server that Debian has installed, or None."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    return os.path.dirname(found[-1]) if found else None


class Postgres:
    """The server refuses to be root: then it runs as somebody who may do nothing."""

    password = "sesame-open-7"      # of the role `hub`, who has to give it on the port; on the socket everybody is let in

    def __init__(self, directory=None):
        self.bin = programs()
        assert self.bin, "there is no PostgreSQL server: apt-get install postgresql"
        self.dir = directory or tempfile.mkdtemp(prefix="weir-pg-", dir="/tmp")    # sockets have short names
        self.data = os.path.join(self.dir, "data")
        self.log_path = os.path.join(self.dir, "log")
        self.port = free_port()
        self.process = None
        self.count = 0
        self.user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.dir, nobody.pw_uid, nobody.pw_gid)
        atexit.register(self.remove)
        self.run("initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-U", "weir", "-A", "trust", "-D", self.data)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            f.write(SETTINGS % self.dir)
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as f:
            f.write("local all all trust\nhost all hub 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        self.start()
        self.sql("CREATE ROLE hub LOGIN PASSWORD '%s'" % self.password)

    def run(self, program, *args, **kw):
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": self.dir}
        r = subprocess.run([os.path.join(self.bin, program), *args], cwd=self.dir, env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False, **self.user, **kw)
        text = r.stdout.decode("utf-8", "replace")
        assert r.returncode == 0, (program, args, text)
        return text

    # Life

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "postgres"), "-D", self.data, "-p", str(self.port)], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.user)
        wait_until(self.answers, 30, "PostgreSQL answers")
        return self

    def answers(self):
        assert self.process.poll() is None, open(self.log_path, errors="replace").read()[-2000:]
        r = subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.dir, "-p", str(self.port)], check=False)
        return r.returncode == 0

    def signal_all(self, sig):
        """The server and each of its processes: they are a group."""
        os.killpg(self.process.pid, sig)

    def kill9(self):
        """As when the machine loses its power, but for what the kernel still writes."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """At once, with its clients sent away."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def freeze(self):
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def settle(self):
        """In good health, whatever the story before did to it."""
        if self.process.poll() is not None:
            self.start()
        self.thaw()
        wait_until(self.answers, 30, "PostgreSQL answers")

    def remove(self):
        if self.process and self.process.poll() is None:
            self.thaw()
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Databases

    def sql(self, text, database="postgres"):
        """Rows of strings, as psql prints them."""
        out = self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-p", str(self.port), "-U", "weir",
                       "-d", database, "-c", text)
        return [line.split("|") for line in out.splitlines()]

    def database(self, create=True):
        """The URL of a new database, over the socket."""
        self.count += 1
        name = "weir_%d_%d" % (os.getpid(), self.count)
        if create:
            self.sql("CREATE DATABASE %s" % name)
        return self.url(name)

    def url(self, name):
        return "postgresql://weir@/%s?host=%s&port=%d" % (name, self.dir, self.port)

    def url_with_password(self, name, password=None):
        return "postgresql://hub:%s@127.0.0.1:%d/%s" % (password or self.password, self.port, name)


def name_of(url):
    """The database that a URL of database() is for."""
    return url.split("/", 3)[3].split("?")[0]


_the_one = []


def the_server():
    if not _the_one:
        _the_one.append(Postgres())
    _the_one[0].settle()
    return _the_one[0]
