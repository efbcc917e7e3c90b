"""Under the name datacat-server weir is the original's server: its config.json, its port, its log file."""

import glob
import json
import os
import signal
import subprocess

import pytest

from lab import wire
from lab.daemon import binary, sanitizer_environment
from lab.wait import accepts, free_port, wait_until

DEFAULTS = {"data_path": "./datacat_data", "retention_days": 365, "cleanup_interval_hours": 24, "server_port": "9090",
            "heartbeat_timeout_seconds": 60, "require_api_key": False}


class Server:
    """A link to weir in a folder of its own, started there without arguments."""

    def __init__(self, folder, env):
        self.dir, self.env = str(folder), dict(env, **sanitizer_environment())
        self.link = os.path.join(self.dir, "datacat-server")
        os.makedirs(self.dir)
        os.symlink(binary(), self.link)

    def configure(self, **config):
        self.port = free_port()
        text = json.dumps(dict({"server_port": str(self.port)}, **config))
        with open(os.path.join(self.dir, "config.json"), "w") as f:
            f.write(text)

    def run(self):
        """To its end; for starts that fail."""
        return subprocess.run([self.link], cwd=self.dir, env=self.env, capture_output=True, text=True, timeout=30, check=False)

    def start(self):
        self.process = subprocess.Popen([self.link], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        wait_until(lambda: accepts(self.port))
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, (self.process.returncode, out, err, self.log())

    def ask(self, method, path, body=None, **headers):
        a = wire.request(self.port, method, path, headers, None if body is None else json.dumps(body).encode(), 30)
        a.json = json.loads(a.body) if "json" in a.headers.get("content-type", "") else None
        return a

    def log(self):
        return "".join(open(f).read() for f in glob.glob(os.path.join(self.dir, "*.log")))


@pytest.fixture
def server(site, tmp_path):
    server = Server(tmp_path / "server", site.env)
    yield server
    if hasattr(server, "process") and server.process.poll() is None:
        server.stop()
    assert "Sanitizer" not in server.log()


def test_without_a_configuration_the_defaults_are_written(server):
    """Port 9090 may be taken on this machine: then the start fails, and the file is written all the same."""
    server.process = subprocess.Popen([server.link], cwd=server.dir, env=server.env, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
    config = os.path.join(server.dir, "config.json")
    wait_until(lambda: os.path.exists(config) and open(config).read().endswith("}\n"))
    written = json.load(open(config))
    assert {k: written[k] for k in DEFAULTS} == DEFAULTS
    assert open(config).read().count("\n") > len(DEFAULTS)      # for people
    wait_until(lambda: os.path.isdir(os.path.join(server.dir, "datacat_data")))
    server.process.kill()
    server.process.wait()


def test_an_ordinary_configuration_works_and_survives_restarts(server):
    server.configure(data_path="./here", log_file="my.log")
    server.start()
    assert server.ask("GET", "/health").json["service"] == "datacat-server"
    session = server.ask("POST", "/api/sessions", {"product": "p", "version": "1"}).json["session_id"]
    assert server.ask("POST", "/api/sessions/%s/events" % session, {"name": "e"}, Host="elsewhere.example").status == 200
    server.stop()
    assert os.path.isdir(os.path.join(server.dir, "here"))
    assert "session_created" in open(os.path.join(server.dir, "my.log")).read()
    server.start()
    assert [s["id"] for s in server.ask("GET", "/api/data/sessions").json] == [session]
    server.stop()


def test_it_listens_on_all_addresses_and_logs_to_a_file_of_its_own(server):
    server.configure()
    server.start()
    assert wire.request(server.port, "GET", "/health").status == 200
    import socket
    try:
        six = socket.create_connection(("::1", server.port), timeout=10)
    except OSError:
        pytest.skip("a machine without IPv6")
    six.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b" 200 " in six.recv(1000)
    six.close()
    server.stop()
    assert "hub_open_to_everybody" in server.log()
    assert glob.glob(os.path.join(server.dir, "datacat-server-*-%d.log" % server.process.pid))


def test_a_key_that_is_required_is_asked_for(server):
    server.configure(api_key="s3cret", require_api_key=True)
    server.start()
    assert server.ask("GET", "/health").status == 200
    assert server.ask("GET", "/api/data/sessions").status == 401
    assert server.ask("GET", "/api/data/sessions", Authorization="Bearer wrong").status == 401
    assert server.ask("GET", "/api/data/sessions", Authorization="Bearer s3cret").json == []
    with open("/proc/%d/cmdline" % server.process.pid) as f:
        assert "s3cret" not in f.read()
    server.stop()
    assert "s3cret" not in server.log()


def test_a_key_that_is_not_required_is_not_asked_for(server):
    server.configure(api_key="s3cret", require_api_key=False, unknown=1, retention_days=None, cleanup_interval_hours=0)
    server.start()
    assert server.ask("GET", "/api/data/sessions").json == []
    server.stop()


@pytest.mark.parametrize("config,why", [
    ({"data_path": "/proc/nowhere"}, "data_path"), ({"data_path": 5}, "data_path"), ({"retention_days": "many"}, "retention_days"),
    ({"require_api_key": True}, "api_key"), ({"require_api_key": "yes"}, "require_api_key"), ({"server_port": "http"}, "server_port"),
    ({"server_port": "70000"}, "server_port")])
def test_what_is_wrong_ends_the_start(server, config, why):
    server.configure(**config)
    done = server.run()
    assert done.returncode not in (0, 99) and why in done.stderr, done


@pytest.mark.parametrize("text", ["", "{", "[]", "server_port: 1"])
def test_a_file_that_is_no_json_ends_the_start_and_is_not_overwritten(server, text):
    server.configure()
    path = os.path.join(server.dir, "config.json")
    with open(path, "w") as f:
        f.write(text)
    done = server.run()
    assert done.returncode not in (0, 99) and "config.json" in done.stderr
    assert open(path).read() == text


def test_two_on_one_folder_do_not_meet(server):
    server.configure()
    server.start()
    done = server.run()
    assert done.returncode != 0
    server.stop()
