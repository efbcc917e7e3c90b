"""actors -- the programs that are compared: weir, nginx, lighttpd, fcgiwrap, git, a long line; each on
loopback, in a folder of its own.

Every child ends with this program, even when that is killed outright, and none inherits the reader's settings.
"""

import atexit
import ctypes
import functools
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 30  # for anything that should take a second or two
PR_SET_PDEATHSIG = 1  # prctl(2)
CPUS = os.sysconf("SC_NPROCESSORS_ONLN")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

ENV = {k: v for k, v in os.environ.items()
       if not k.startswith(("GIT_", "WEIR_")) and not k.lower().endswith("_proxy")}
ENV.update(PATH=PATH, LC_ALL="C.UTF-8", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1",
           GIT_TERMINAL_PROMPT="0", GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
           GIT_CONFIG_KEY_1="init.defaultBranch", GIT_CONFIG_VALUE_1="main")


class Trouble(Exception):
    """Something could not be run; the text is for the reader."""


# ---- processes --------------------------------------------------------------------------------------------------

children = []
libc = ctypes.CDLL(None, use_errno=True)


def start(command, **kw):
    """A child in a process group of its own, ended with us. Not in a session of its own: where the kernel shares the
    processor out by session (sched_autogroup), the side with more of them would get more of a busy machine."""
    child = subprocess.Popen([str(c) for c in command], stdin=kw.pop("stdin", subprocess.DEVNULL), env=ENV,
                             process_group=0,
                             preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM), **kw)
    children.append(child)
    return child


def end(child):
    """Ends a child and its process group."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()
    if child in children:
        children.remove(child)


@atexit.register
def end_all():
    for child in reversed(children[:]):
        end(child)


def program(name):
    found = shutil.which(name, path=PATH)
    if not found:
        raise Trouble(f"{name} is missing: tools/install-packages run dev")
    return found


def git(*args, stdin=subprocess.DEVNULL):
    """Runs git and returns its standard output."""
    done = subprocess.run(["git", *map(str, args)], stdin=stdin, env=ENV, capture_output=True, text=True,
                          errors="replace", check=False)
    if done.returncode:
        raise Trouble(f"git {' '.join(map(str, args))}: {done.stderr.strip()}")
    return done.stdout


def wait_until(what, condition, every_s=0.01):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"waited {PATIENCE_S} s in vain until {what}")
        time.sleep(every_s)


def any_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def family(pid):
    """A process and its children."""
    out = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            out += map(int, task.read_text().split())
        except OSError:  # the thread has ended meanwhile
            pass
    return out


def tail(path):
    return "".join(f"\n    {line}" for line in path.read_text(errors="replace").splitlines()[-8:])


# ---- servers ----------------------------------------------------------------------------------------------------

class Server:
    """A server program in the foreground; `port` is where it answers, `process` its (first) process."""

    name = ""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port, self.process = folder, any_port(), None
        self.log = folder / "log"

    def command(self):
        raise NotImplementedError

    def start(self):
        with open(self.log, "ab") as log:
            self.process = start(self.command(), stdout=log, stderr=log, cwd=self.folder)
        wait_until(f"{self.name} answers", lambda: self.process.poll() is not None or self.is_ready(), 0.0005)
        if self.process.poll() is not None:
            raise Trouble(f"{self.name} does not start:{tail(self.log)}")
        return self

    def is_ready(self):
        return accepts(self.port)

    def stop(self):
        end(self.process)

    def pids(self):
        return [self.process.pid]


NGINX = """\
daemon off;
user {user};
worker_processes {cpus};
worker_rlimit_nofile {nofile};
error_log {folder}/log;
pid {folder}/pid;
events {{ worker_connections 8192; }}
http {{
    map $content_length $stored {{ default fetch; "~^[0-9]{{1,3}}$" refs; }}
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    fastcgi_buffers 64 16k;
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        location = /livez {{ default_type text/plain; return 200 "ok\\n"; }}
        location /static/ {{ root {folder}; default_type application/x-git-upload-pack-result; }}
        location = /stored.git/info/refs {{
            alias {folder}/static/stored-advert;
            types {{ }}
            default_type application/x-git-upload-pack-advertisement;
        }}
        location = /stored.git/git-upload-pack {{ error_page 405 =200 /static/stored-$stored; return 405; }}
        location / {{
            fastcgi_pass unix:{folder}/fcgi.socket;
            fastcgi_keep_conn off;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param PATH_INFO $uri;
            fastcgi_param GIT_PROJECT_ROOT {repos};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_ADDR $remote_addr;
        }}
    }}
}}
"""


class Nginx(Server):
    """nginx: static files below `static`, /livez by `return 200`, and git-http-backend through fcgiwrap. store() makes
    /stored.git of three answers, for git clients: what they POST gets the listing when it is short, else the pack."""

    name = "nginx"

    def __init__(self, folder, repos=None):
        super().__init__(folder)
        self.static = folder / "static"
        self.static.mkdir(exist_ok=True)
        self.fcgiwraps = []
        self.repos = repos
        (folder / "nginx.conf").write_text(NGINX.format(
            folder=folder, port=self.port, cpus=CPUS, repos=repos, backend=backend(), nofile=soft_nofile(),
            user="root" if os.geteuid() == 0 else "nobody"))

    def command(self):
        return [program("nginx"), "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", self.log]

    def start(self):
        if self.repos and not self.fcgiwraps:
            # As many as there are connections: none waits for a process while a core is idle.
            with open(self.log, "ab") as log, socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(self.folder / "fcgi.socket"))
                listener.listen(64)
                self.fcgiwraps = [start([program("fcgiwrap")], stdin=listener, stdout=log, stderr=log)
                                  for _ in range(16)]
        return super().start()

    def store(self, advert, refs, fetch):
        for name, answer in (("advert", advert), ("refs", refs), ("fetch", fetch)):
            (self.static / f"stored-{name}").write_bytes(answer)

    def is_ready(self):
        """When the workers run: the kernel takes connections before, but nobody answers them."""
        return accepts(self.port) and len(family(self.process.pid)) == 1 + CPUS

    def stop(self):
        super().stop()
        while self.fcgiwraps:
            end(self.fcgiwraps.pop())

    def pids(self):
        return family(self.process.pid)


LIGHTTPD = """\
server.modules       = ("mod_alias", "mod_setenv", "mod_cgi")
server.bind          = "127.0.0.1"
server.port          = {port}
server.document-root = "{repos}"
server.upload-dirs   = ("{folder}")
server.errorlog      = "{folder}/log"
server.max-keep-alive-requests = 30000
server.max-worker    = {cpus}
server.stream-response-body = 2
alias.url            = ("/" => "{backend}/")
cgi.assign           = ("" => "")
setenv.set-environment = ("GIT_PROJECT_ROOT" => "{repos}", "GIT_HTTP_EXPORT_ALL" => "1")
"""


class Lighttpd(Server):
    """lighttpd with git-http-backend as CGI: weir's upstream, and the other way to serve git that people use."""

    name = "lighttpd"

    def __init__(self, folder, repos):
        super().__init__(folder)
        (folder / "lighttpd.conf").write_text(LIGHTTPD.format(
            folder=folder, port=self.port, repos=repos, backend=backend(), cpus=CPUS))

    def command(self):
        return [program("lighttpd"), "-D", "-f", self.folder / "lighttpd.conf"]


class Line(Server):
    """A proxy before a server, with so much of a round trip: delay.py."""

    name = "delaying proxy"

    def __init__(self, folder, server, round_trip_ms):
        super().__init__(folder)
        self.server, self.round_trip_ms = server, round_trip_ms

    def command(self):
        return [sys.executable, pathlib.Path(__file__).with_name("delay.py"), self.port, self.server.port,
                self.round_trip_ms]


@functools.cache
def backend():
    return os.path.join(git("--exec-path").strip(), "git-http-backend")


def soft_nofile():
    import resource
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


WEIR = """\
data_dir: ./data
log: {{level: warn}}
limits: {{connections: 8192}}
admin: {{listen: "127.0.0.1:0"}}
git:
  listen: 127.0.0.1:0
  upstreams:
    - {{match: {host}, url: "{url}"}}
"""


class Weir(Server):
    """weir before `upstream` (a Server, or None for one that does not exist), which it calls HOST."""

    name = "weir"
    HOST = "bench.local"
    SERVICE = "git"  # whose listener is `port`

    def __init__(self, folder, binary, upstream=None):
        super().__init__(folder)
        self.binary, self.address = binary, {}
        self.data = folder / "data"
        port = upstream.port if upstream else 9  # discard: nobody listens
        (folder / "weir.yaml").write_text(WEIR.format(host=self.HOST, url=f"http://127.0.0.1:{port}"))

    def command(self):
        return [self.binary, "serve", "-c", self.folder / "weir.yaml"]

    def start(self):
        """Until `ready`, which comes when all listeners are up."""
        with open(self.log, "ab") as log:
            self.process = start(self.command(), stdout=subprocess.PIPE, stderr=log, cwd=self.folder)
        lines = queue.Queue()
        threading.Thread(target=self.follow, args=(self.process.stdout, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise Trouble(f"weir is not ready after {PATIENCE_S} s:{tail(self.log)}") from None
            if not line:
                self.process.wait()
                raise Trouble(f"weir ended with status {self.process.returncode}:{tail(self.log)}")
            words = line.decode(errors="replace").split()
            if words[:1] == ["listening"]:
                self.address[words[1]] = words[2]
            elif words == ["ready"]:
                self.port = int(self.address[self.SERVICE].rpartition(":")[2])
                return self

    @staticmethod
    def follow(stream, lines):
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(b"")

    def admin(self, method, path, value=None):
        """The admin API: sends a value as JSON, returns what comes back."""
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(f"http://{self.address['admin']}{path}", body,
                                         {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as e:
            raise Trouble(f"{method} {path}: {e.code} {e.read().decode(errors='replace')}") from None

    def path(self, repo):
        return f"/{self.HOST}/{repo}.git"

    def warm(self, repo):
        """Fills the cache with a repository, listing included, and waits until nothing more is under way."""
        self.admin("POST", "/api/v1/repos/warm", {"repo": f"{self.HOST}/{repo}"})
        git("ls-remote", f"http://127.0.0.1:{self.port}{self.path(repo)}")
        wait_until(f"weir holds {repo}", lambda: any(
            r["path"].removesuffix(".git") == repo and r["state"] == "ready" and r["servable_at"]
            for r in self.admin("GET", "/api/v1/repos")["items"]))
        self.wait_idle()

    def wait_idle(self):
        """Until no child of weir is left."""
        wait_until("weir's children have ended", lambda: len(family(self.process.pid)) == 1, 0.001)

    def go_offline(self):
        """Switches the upstream off: from now on everything comes from the cache."""
        self.admin("PUT", f"/api/v1/upstreams/{self.HOST}", {"enabled": False})

    def git_dir(self, repo):
        """The bare repository on disk that weir serves `repo` from."""
        for name in self.data.glob("**/name"):
            if f"{self.HOST}/{repo}" in name.read_text(errors="replace"):
                return name.parent / "git"
        raise Trouble(f"no repository {repo} below {self.data}")
