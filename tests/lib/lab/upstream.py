"""The upstream: a real lighttpd with git-http-backend, on its own port, serving bare repositories.

Repositories under private/ ask for a user and password (HTTP Basic), read from a file at each request, so that a
story may change them while everything runs.
"""

import os
import subprocess

from .repos import BareRepo, ordinary
from .wait import accepts, free_port, wait_until

CONFIG = """
server.modules = ("mod_auth", "mod_authn_file", "mod_setenv", "mod_cgi", "mod_alias", "mod_accesslog")
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{dir}/error.log"
server.upload-dirs = ("{dir}")
server.stream-response-body = 2
server.max-connections = 512
accesslog.filename = "{dir}/access.log"
accesslog.format = "%s %O %r"
alias.url = ("/" => "/usr/lib/git-core/git-http-backend/")
cgi.assign = ("" => "")
setenv.add-environment = ("GIT_PROJECT_ROOT" => "{root}", "GIT_HTTP_EXPORT_ALL" => "1", "HOME" => "{dir}",
                          "GIT_CONFIG_NOSYSTEM" => "1", "PATH" => "/usr/bin:/bin")
$HTTP["url"] =~ "^/private/" {{
    auth.backend = "plain"
    auth.backend.plain.userfile = "{dir}/users"
    auth.require = ("/private/" => ("method" => "basic", "realm" => "the upstream", "require" => "valid-user"))
}}
"""

TLS = """
server.modules += ("mod_openssl")
$SERVER["socket"] == "127.0.0.1:{port}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{cert}"
    ssl.privkey = "{key}"
}}
"""


class Upstream:
    def __init__(self, directory, env):
        self.dir = str(directory)
        self.root = os.path.join(self.dir, "repositories")
        self.env = env
        self.process = None
        self.tls = ""
        os.makedirs(self.root)
        self.passwords({})
        self.start()

    # Life

    def start(self):
        for _ in range(10):
            if not getattr(self, "port", None):
                self.port = free_port()
            with open(os.path.join(self.dir, "lighttpd.conf"), "w") as f:
                f.write(CONFIG.format(root=self.root, port=self.port, dir=self.dir) + self.tls)
            with open(os.path.join(self.dir, "error.log"), "ab") as log:
                self.process = subprocess.Popen(["lighttpd", "-D", "-f", f.name], env=self.env,
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait_until(lambda: accepts(self.port) or self.process.poll() is not None, what="lighttpd starts")
            if self.process.poll() is None:
                return
            self.port = None        # somebody was quicker: take another
        raise AssertionError("lighttpd does not start, see %s/error.log" % self.dir)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        self.start()

    def add_tls(self, cert, key):
        """Listen on one more port, with TLS; returns it."""
        port = free_port()
        self.tls = TLS.format(port=port, cert=cert, key=key)
        self.restart()
        return port

    # Contents

    def repo(self, name, object_format="sha1", head="refs/heads/main"):
        """A new repository without any commit."""
        return BareRepo(os.path.join(self.root, name + ".git"), name, self.env, object_format, head)

    def ordinary_repo(self, name, object_format="sha1"):
        return ordinary(self.repo(name, object_format))

    def passwords(self, users):
        """From now on, exactly these users ({name: password}) may read what is under private/."""
        new = os.path.join(self.dir, "users.new")
        with open(new, "w") as f:
            f.write("".join("%s:%s\n" % item for item in users.items()))
        os.rename(new, os.path.join(self.dir, "users"))

    def url(self, name, user=None, password=None):
        who = "%s:%s@" % (user, password) if user else ""
        return "http://%s127.0.0.1:%d/%s" % (who, self.port, name)
