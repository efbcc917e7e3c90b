"""A PostgreSQL server of Debian's packages as a story's actor: in a folder of its own, on a UNIX socket and a loopback port, with its
syncs on. One for each pytest; each hub gets a database of its own."""

import atexit
import glob
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

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

    def __init__(self, directory=None, more=""):
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
            f.write(SETTINGS % self.dir + more)
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as f:
            f.write("local all all trust\nhost all hub 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        self.start()
        self.sql("CREATE ROLE hub LOGIN PASSWORD '%s'" % self.password)

    def run(self, program, *args, limit=60):
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": self.dir}
        r = subprocess.run([os.path.join(self.bin, program), *args], cwd=self.dir, env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, check=False, **self.user)
        text = r.stdout.decode("utf-8", "replace")
        assert r.returncode == 0, (program, args, text)
        return text

    # Life

    def start(self):
        self.launch()
        wait_until(self.answers, 60, "PostgreSQL answers")
        return self

    def launch(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "postgres"), "-D", self.data, "-p", str(self.port)], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.user)

    def answers(self):
        if self.process.poll() is not None:     # a child of the one that was killed still holds its memory, for a moment
            time.sleep(0.1)
            self.launch()
        r = subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.dir, "-p", str(self.port)], check=False)
        return r.returncode == 0

    def processes(self):
        """The server and those it has started, each of which has made itself a session of its own."""
        found = [self.process.pid]
        for entry in os.listdir("/proc"):
            try:
                with open("/proc/%s/stat" % entry) as f:
                    parent = int(f.read().rpartition(")")[2].split()[1]) if entry.isdigit() else 0
            except (OSError, ValueError):
                continue
            if parent == self.process.pid:
                found.append(int(entry))
        return found

    def signal_all(self, sig):
        for pid in self.processes():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass

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

    def make_folder(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path)
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])
        return path

    def remove(self):
        if self.process and self.process.poll() is None:
            self.thaw()
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Databases

    def sql(self, text, database="postgres", limit=60):
        """Rows of strings, as psql prints them."""
        out = self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-p", str(self.port), "-U", "weir",
                       "-d", database, "-c", text, limit=limit)
        return [line.split("|") for line in out.splitlines()]

    def hold(self, text, database):
        """Somebody at psql who has begun a transaction with this, and went for a coffee: until close()."""
        p = subprocess.Popen([os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-h", self.dir, "-p", str(self.port), "-U", "weir",
                              "-d", database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **self.user)
        p.stdin.write(b"BEGIN; " + text.encode() + b"; SELECT 'held';\n")
        p.stdin.flush()
        while p.stdout.readline().strip() != b"held":
            assert p.poll() is None
        return p

    def let_go(self, p):
        p.stdin.close()
        p.stdout.close()
        p.wait()

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


class Line:
    """The cable between a hub and the server, which can be cut at the worst moment: when the next commit was sent (and the server
    made it, never heard of it, or hears of it late), before its answer arrives. A hub's next connection is a new cable."""

    def __init__(self, server):
        self.server = server
        self.cut = None             # "after" the commit reached the server, "before" it does; "late": it reaches it `hold` s later
        self.hold = 0               # "silent": as after, and new connections hear nothing for `hold` s
        self.silent_until = 0
        self.cuts = 0
        self.door = socket.socket()
        self.door.bind(("127.0.0.1", 0))
        self.door.listen(50)
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        while time.monotonic() < self.silent_until:
            time.sleep(0.02)
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as server:
            ends = {client: server, server: client}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    if end is client and self.cut and b"\0commit\0" in data:    # a Bind of the statement `commit`
                        when, self.cut = self.cut, None
                        self.cuts += 1
                        if when == "late":
                            time.sleep(self.hold)       # as TCP does, whatever became of the sender
                        if when == "silent":
                            self.silent_until = time.monotonic() + self.hold
                        if when != "before":
                            server.sendall(data)
                            server.recv(1 << 16)        # the answer: it is made, and nobody hears of it
                        return
                    ends[end].sendall(data)

    def url(self, name):
        return "postgresql://weir@127.0.0.1:%d/%s?sslmode=disable" % (self.port, name)

    def close(self):
        self.door.close()


def name_of(url):
    """The database that a URL of database() is for."""
    return url.split("/", 3)[3].split("?")[0]


_the_one = []


def the_server():
    if not _the_one:
        _the_one.append(Postgres())
    _the_one[0].settle()
    return _the_one[0]
