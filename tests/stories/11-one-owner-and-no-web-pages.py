"""One daemon owns a data_dir; and no web page of somebody else's drives weir from a visitor's browser."""

import pytest

from lab.daemon import run_weir
from lab.wire import Raw


def test_a_second_daemon_on_the_same_folder_exits_with_2(site):
    weir = site.weir
    second = site.new_weir("weir-2", data_dir=weir.data_dir)
    code, out, err = run_weir("serve", "-c", second.config_path, env=weir.env, cwd=weir.dir)
    assert code == 2, (code, out, err)
    assert "ready" not in out
    assert str(weir.process.pid) in err, err       # it says who holds it
    assert weir.alive() and weir.ask("GET", "/livez").status == 200


def test_after_kill_9_the_folder_is_free(site):
    weir = site.weir
    weir.kill9()
    weir.restart()
    assert weir.ask("GET", "/livez").status == 200


VERBS = [
    ("PUT", "/api/v1/upstreams/git.test", {"enabled": False}),
    ("POST", "/api/v1/repos/evict", {"repo": "git.test/org/project"}),
    ("POST", "/api/v1/repos/warm", {"repo": "git.test/org/project"}),
    ("POST", "/api/v1/repos/verify", {"repo": "git.test/org/project"}),
    ("POST", "/api/v1/repos/invalidate", {"repo": "git.test/org/project"}),
    ("GET", "/api/v1/status", None), ("GET", "/api/v1/repos", None), ("GET", "/api/v1/upstreams", None),
    ("GET", "/metrics", None), ("GET", "/", None),
]


@pytest.mark.parametrize("headers,status", [
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Host": "evil.example"}, 421),
    ({"Host": "evil.example:8070"}, 421),
    ({"Host": "127.0.0.1.evil.example"}, 421),
    ({"Host": "localhost.evil.example"}, 421),
], ids=lambda v: str(v))
def test_a_foreign_page_reaches_no_admin_verb(site, headers, status):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    for method, path, body in VERBS:
        answer = site.weir.admin(method, path, body, headers)
        assert answer.status == status, (method, path, answer)
        assert "access-control-allow-origin" not in answer.headers
    assert site.weir.upstream()["enabled"] is True
    assert site.weir.repo("org/project")["state"] == "ready"


def test_a_simple_cross_site_form_reaches_no_admin_verb(site):
    """What a page can send without asking first: text/plain with an Origin."""
    answer = site.weir.ask("PUT", "/api/v1/upstreams/git.test", {"Origin": "https://evil.example",
                           "Content-Type": "text/plain"}, b'{"enabled": false}', service="admin")
    assert answer.status == 403 and site.weir.upstream()["enabled"] is True
    preflight = site.weir.ask("OPTIONS", "/api/v1/upstreams/git.test", {"Origin": "https://evil.example",
                              "Access-Control-Request-Method": "PUT"}, service="admin")
    assert preflight.status >= 400 and "access-control-allow-origin" not in preflight.headers


def test_own_names_are_welcome(site):
    weir = site.start_weir(admin={"listen": "127.0.0.1:0", "hosts": ["weir.corp"]})
    port = weir.ports["admin"]
    for host in ("localhost", "localhost:%d" % port, "127.0.0.1:%d" % port, "[::1]:%d" % port, "weir.corp",
                 "weir.corp:%d" % port):
        assert weir.admin("GET", "/api/v1/status", headers={"Host": host}).status == 200, host
    same = weir.admin("GET", "/api/v1/status", headers={"Origin": "http://127.0.0.1:%d" % port})
    assert same.status == 200
    assert weir.admin("GET", "/api/v1/status", headers={"Host": "other.corp"}).status == 421


def test_the_git_listener_answers_no_foreign_host_in_origin_form(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    target = weir.repo_target("org/project", "info/refs?service=git-upload-pack")
    assert weir.ask("GET", target, {"Host": "evil.example"}).status == 421
    assert weir.ask("GET", "/metrics", {"Host": "evil.example"}).status == 421
    assert weir.ask("GET", "/metrics", {"Origin": "http://evil.example"}).status == 403
    assert weir.ask("GET", "/healthz?detailed=true", {"Origin": "http://evil.example"}).status == 403
    absolute = weir.ask("GET", "http://git.test/org/project/info/refs?service=git-upload-pack",
                        {"Host": "git.test"})
    assert absolute.status == 200


def test_a_token_guards_the_admin_listener(site):
    weir = site.start_weir(admin={"listen": "127.0.0.1:0", "token_file": site.file("token", "let-me-in\n")})
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic bGV0LW1lLWlu"}):
        assert weir.admin("GET", "/api/v1/status", headers=headers).status == 401
        assert weir.admin("PUT", "/api/v1/upstreams/git.test", {"enabled": False}, headers).status == 401
    assert weir.admin("GET", "/api/v1/status", headers={"Authorization": "Bearer let-me-in"}).status == 200
    assert weir.ask("GET", "/livez", service="admin").status == 200
    assert "let-me-in" not in weir.whole_log()


def test_an_admin_listener_beyond_loopback_needs_a_token(site):
    weir = site.new_weir(admin={"listen": "0.0.0.0:0"})
    code, out, err = run_weir("check", "-c", weir.config_path, env=weir.env, cwd=weir.dir)
    assert code == 2 and "token_file" in out + err, (out, err)


def test_the_admin_api_speaks_problem_json(site):
    weir = site.weir
    for method, path, body, status in (("GET", "/api/v1/nothing", None, 404),
                                       ("DELETE", "/api/v1/status", None, 405),
                                       ("POST", "/api/v1/repos/evict", {"repo": "git.test/org/nothing"}, 404),
                                       ("POST", "/api/v1/repos/evict", {"nothing": 1}, 400),
                                       ("POST", "/api/v1/repos/warm", {"repo": "elsewhere.test/a/b"}, 400)):
        answer = weir.admin(method, path, body)
        assert answer.status == status, (method, path, answer)
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json["status"] == status and answer.json["title"]
    assert weir.ask("POST", "/api/v1/repos/evict", {"Content-Type": "application/json"}, b"{not json",
                    service="admin").status == 400
    with Raw(weir.ports["admin"]) as raw:
        raw.send("HEAD /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = raw.read_to_end().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and body == b""
