"""File servers that take writes: lighttpd's mod_webdav, nginx's dav module, Apache's mod_dav.

Each is the real program with a folder, a port and a log of its own. A story may look into the folder, and change it as
somebody else at headquarters would. POST is taken under /inbox/, which answers 204 and keeps nothing: what was in it is
what the fault proxy before the server has recorded.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from .wait import accepts, free_port, wait_until
from .wire import request

LIGHTTPD = """
server.modules = ("mod_webdav", "mod_accesslog", "mod_cgi", "mod_dirlisting")
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{dir}/error.log"
server.upload-dirs = ("{dir}")
server.max-connections = 1024
server.stat-cache-engine = "{stat_cache}"
accesslog.filename = "{dir}/access.log"
accesslog.format = "%s %r"
mimetype.assign = (".txt" => "text/plain", ".html" => "text/html", "" => "application/octet-stream")
webdav.activate = "enable"
dir-listing.activate = "enable"
$HTTP["url"] =~ "^/inbox/" {{
    webdav.activate = "disable"
    cgi.assign = ("" => "")
    server.document-root = "{dir}/cgi"
}}
"""

NGINX = """
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log notice;
events {{ worker_connections 1024; }}
http {{
    log_format story "$status $request";
    access_log {dir}/access.log story;
    types {{ text/plain txt; text/html html; }}
    default_type application/octet-stream;
    client_max_body_size 0;
    client_body_temp_path {dir}/tmp;
    proxy_temp_path {dir}/tmp;
    fastcgi_temp_path {dir}/tmp;
    uwsgi_temp_path {dir}/tmp;
    scgi_temp_path {dir}/tmp;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        autoindex on;
        dav_methods PUT DELETE MKCOL COPY MOVE;
        create_full_put_path on;
        location /inbox/ {{ return 204; }}
    }}
}}
"""

APACHE = """
ServerRoot /usr/lib/apache2
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule mime_module modules/mod_mime.so
LoadModule alias_module modules/mod_alias.so
LoadModule autoindex_module modules/mod_autoindex.so
LoadModule dav_module modules/mod_dav.so
LoadModule dav_fs_module modules/mod_dav_fs.so
{user}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {dir}/apache.pid
ErrorLog {dir}/error.log
LogFormat "%>s %r" story
CustomLog {dir}/access.log story
TypesConfig /dev/null
AddType text/plain .txt
AddType text/html .html
StartServers 1
DocumentRoot {root}
DavLockDB {dir}/tmp/lock
<Directory {root}>
    Require all granted
    Options Indexes
    Dav On
</Directory>
Redirect 204 /inbox/
"""


class FileServer:
    """What the three have in common. `kind` is the word by which stories choose one."""

    kind = config = ""
    owner = None                        # who else has to be able to write

    def __init__(self, directory, env):
        self.dir = str(directory)
        self.env = env
        self.process = None
        self.port = None
        os.makedirs(self.dir, exist_ok=True)
        self.root = os.path.join(self.dir, "files")
        for name in (self.root, os.path.join(self.dir, "tmp"), os.path.join(self.dir, "cgi", "inbox")):
            os.makedirs(name)
            self._give(name)
        self.marks = 0
        self.start()

    def settings(self):
        return {}

    def command(self, config):
        raise NotImplementedError

    # Life

    def start(self):
        for _ in range(10):
            self.port = self.port or free_port()
            path = os.path.join(self.dir, self.kind + ".conf")
            with open(path, "w") as f:
                f.write(self.config.format(root=self.root, port=self.port, dir=self.dir, **self.settings()))
            with open(os.path.join(self.dir, "error.log"), "ab") as log:
                self.process = subprocess.Popen(self.command(path), env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, start_new_session=True)
            wait_until(lambda: accepts(self.port) or self.process.poll() is not None, what=self.kind + " starts")
            if self.process.poll() is None:
                return
            self.port = None            # somebody was quicker: take another
        raise AssertionError("%s does not start, see %s/error.log" % (self.kind, self.dir))

    def kill(self):
        """SIGKILL, with all its children."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self):
        self.kill()
        self.start()

    def close(self):
        self.kill()

    # The folder, as somebody else at headquarters sees it

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def write(self, name, content, mtime=None):
        """Put a file in place whole, as an editor would; mtime: seconds since 1970."""
        path = self.path(name)
        where = os.path.dirname(path)
        if not os.path.isdir(where):
            os.makedirs(where)
            self._give(where)
        with open(path + ".new", "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
        self._give(f.name)
        if mtime is not None:
            os.utime(f.name, (mtime, mtime))
        os.rename(f.name, path)

    def read(self, name):
        """The content of a file, or None when there is none."""
        try:
            with open(self.path(name), "rb") as f:
                return f.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def text(self, name):
        data = self.read(name)
        return None if data is None else data.decode()

    def remove(self, name):
        os.unlink(self.path(name))

    def tree(self):
        """{path: content} of all files."""
        out = {}
        for where, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(where, name)
                out["/" + os.path.relpath(path, self.root)] = self.read(os.path.relpath(path, self.root))
        return out

    # What it has done

    def ask(self, method, target, headers=None, body=None):
        """Straight to it, past proxy and weir."""
        return request(self.port, method, target, headers, body)

    def log(self):
        """(status, method, target) of each request since it was started first, in the order in which they were written
        down: Apache's workers may be a moment late, each on its own."""
        self.marks += 1
        mark = "/mark-%d-of-the-story" % self.marks
        assert self.ask("GET", mark).status == 404
        self.flush_log()
        path = os.path.join(self.dir, "access.log")

        def lines():
            with open(path, encoding="latin-1") as f:
                found = [l.split(" ") for l in f.read().splitlines()]
            return found if any(len(l) > 2 and l[2] == mark for l in found) else None
        return [(int(l[0]), l[1], l[2]) for l in wait_until(lines, what="%s writes its log" % self.kind)
                if len(l) > 2 and not l[2].startswith("/mark-")]

    def writes(self, target=None):
        """The log's lines of what changes things, of one target or of all."""
        return [l for l in self.log() if l[1] not in ("GET", "HEAD", "OPTIONS", "PROPFIND")
                and (target is None or l[2] == target)]

    def flush_log(self):
        pass

    def _give(self, path):
        if self.owner is not None:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)


class Lighttpd(FileServer):
    """Its cache of stat() is off unless a story sets `stat_cache` and starts it again: it would show readers, for up to
    a second, what was there before somebody else's change."""

    kind, config = "lighttpd", LIGHTTPD
    stat_cache = "disable"

    def settings(self):
        return {"stat_cache": self.stat_cache}

    def start(self):
        script = os.path.join(self.dir, "cgi", "inbox", "orders")
        with open(script, "w") as f:
            f.write("#!/bin/sh\ncat >/dev/null\nprintf 'Status: 204\\r\\n\\r\\n'\n")
        os.chmod(script, 0o755)
        super().start()

    def command(self, config):
        return ["lighttpd", "-D", "-f", config]

    def flush_log(self):
        self.process.send_signal(signal.SIGHUP)     # it writes its log every few seconds, or when told to reopen it


class Nginx(FileServer):
    kind, config = "nginx", NGINX

    def command(self, config):
        return ["nginx", "-p", self.dir, "-c", config]


class Apache(FileServer):
    kind, config = "apache", APACHE

    def __init__(self, directory, env):
        self.own_dir = None
        if os.geteuid() == 0:           # it refuses to work as root, and whom it becomes cannot enter our folders
            self.owner = pwd.getpwnam("nobody")
            directory = self.own_dir = tempfile.mkdtemp(prefix="weir-apache-")
            os.chmod(directory, 0o755)
        super().__init__(directory, env)

    def settings(self):
        return {"user": "User nobody\nGroup nogroup" if self.owner else ""}

    def command(self, config):
        return ["apache2", "-D", "FOREGROUND", "-f", config]

    def close(self):
        super().close()
        if self.own_dir:
            shutil.rmtree(self.own_dir, ignore_errors=True)


KINDS = {c.kind: c for c in (Lighttpd, Nginx, Apache)}
