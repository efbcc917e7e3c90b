"""The HTTP front as a client sees it: strict about framing, patient with the honest, quick to notice who has left."""

import gzip
import os
import socket

import pytest

from lab.wait import wait_until
from lab.wire import POST_V2, Raw, fetch, ls_refs, pkts

HOST = "Host: localhost\r\n"
CHUNKED = "POST /livez HTTP/1.1\r\n" + HOST + "Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = "GET /metrics HTTP/1.1\r\n" + HOST + "\r\n"


def get(*lines):
    return "GET /livez HTTP/1.1\r\n" + HOST + "".join(l + "\r\n" for l in lines) + "\r\n"


def post(*lines, body="hello"):
    return "POST /livez HTTP/1.1\r\n" + HOST + "".join(l + "\r\n" for l in lines) + "\r\n" + body


# What two readers could understand differently: RFC 9112 section, then the bytes.
UNCLEAR = {
    "6.1 length and chunked": post("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
    "6.3 two lengths": post("Content-Length: 5", "Content-Length: 6"),
    "6.3 two lengths in one": post("Content-Length: 5, 6"),
    "6.3 a signed length": post("Content-Length: +5"),
    "6.3 a negative length": post("Content-Length: -5"),
    "6.3 a hexadecimal length": post("Content-Length: 0x5"),
    "6.3 a length with a blank inside": post("Content-Length: 5 0"),
    "6.3 an empty length": post("Content-Length:"),
    "6.3 a length beyond 64 bits": post("Content-Length: 99999999999999999999999"),
    "6.1 chunked is not last": post("Transfer-Encoding: chunked, identity"),
    "6.1 chunked twice": post("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n"),
    "6.1 chunked misspelt": post("Transfer-Encoding: xchunked", body="0\r\n\r\n"),
    "6.1 two transfer codings": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n"),
    "2.2 bare LF after a header": "GET /livez HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "2.2 bare LF after the request line": "GET /livez HTTP/1.1\nHost: localhost\r\n\r\n",
    "2.2 bare LF at the end": "GET /livez HTTP/1.1\r\nHost: localhost\r\n\n",
    "2.2 bare CR in a value": get("X: a\rb"),
    "5.5 NUL in a value": get("X: a\0b"),
    "5.5 a control in a value": get("X: a\x01b"),
    "5.1 blank before the colon": get("X : y"),
    "5.1 blank in a name": get("X y: z"),
    "5.1 no name": get(": y"),
    "5.1 no colon": get("X"),
    "5.2 a folded line": get("X: a", " b"),
    "2.2 blank before the first header": "GET /livez HTTP/1.1\r\n X: y\r\n" + HOST + "\r\n",
    "3.2 no Host": "GET /livez HTTP/1.1\r\n\r\n",
    "3.2 two Hosts": get("Host: localhost"),
    "3.2 a Host that is none": "GET /livez HTTP/1.1\r\nHost: local host\r\n\r\n",
    "3 two blanks in the request line": "GET  /livez HTTP/1.1\r\n" + HOST + "\r\n",
    "3 a control in the target": "GET /li\x01vez HTTP/1.1\r\n" + HOST + "\r\n",
    "3 something after the version": "GET /livez HTTP/1.1 x\r\n" + HOST + "\r\n",
    "7.1 chunk size with 0x": CHUNKED + "0x5\r\nhello\r\n0\r\n\r\n",
    "7.1 negative chunk size": CHUNKED + "-5\r\nhello\r\n0\r\n\r\n",
    "7.1 no chunk size": CHUNKED + "\r\nhello\r\n0\r\n\r\n",
    "7.1 chunk size overflows": CHUNKED + "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "7.1 chunk longer than said": CHUNKED + "3\r\nhello\r\n0\r\n\r\n",
    "7.1 bare LF after a chunk size": CHUNKED + "5\nhello\r\n0\r\n\r\n",
    "7.1 bare LF after a chunk": CHUNKED + "5\r\nhello\n0\r\n\r\n",
    "7.1.1 bare LF in an extension": CHUNKED + "5;a\nb\r\nhello\r\n0\r\n\r\n",
}


@pytest.fixture(scope="module")
def weir(shared_site):
    return shared_site.weir


@pytest.mark.parametrize("service", ["git", "admin"])
@pytest.mark.parametrize("case", UNCLEAR)
def test_unclear_framing_is_refused_and_the_connection_closed(weir, case, service):
    with Raw(weir.ports[service]) as raw:
        raw.send(UNCLEAR[case] + SMUGGLED)
        answer = raw.read_to_end()
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1 and b"weir_" not in answer


REFUSED = {
    "417": (get("Expect: the unexpected"), 417),
    "414": ("GET /%s HTTP/1.1\r\n%s\r\n" % ("a" * 100000, HOST), 414),
    "431 one long header": (get("X: " + "a" * 100000), 431),
    "431 many headers": (get(*["X%d: a" % i for i in range(20000)]), 431),
    "505 a later version": ("GET /livez HTTP/2.0\r\n" + HOST + "\r\n", 505),
    "501 a transfer coding we lack": (post("Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"), (400, 501)),
    "501 a method nobody knows": ("BREW /livez HTTP/1.1\r\n" + HOST + "\r\n", (400, 405, 501)),
    "405 a method that does not fit": (post("Content-Length: 5"), 405),
    "404 a path that is none": ("GET /nothing HTTP/1.1\r\n" + HOST + "\r\n", (400, 403, 404)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_refusals_have_their_own_status(weir, case):
    request, status = REFUSED[case]
    with Raw(weir.ports["git"]) as raw:
        try:
            raw.send(request)
        except OSError:
            pass                        # it may close while we are still talking
        head = raw.read_until(b"\r\n")
    assert int(head.split()[1]) in (status if isinstance(status, tuple) else (status,)), head


def test_one_connection_answers_many_requests(weir):
    with Raw(weir.ports["git"]) as raw:
        for _ in range(3):
            raw.send(get())
            assert raw.answer().status == 200
        raw.send(get("Connection: close"))
        assert raw.answer().headers["connection"] == "close"
        assert raw.read_to_end() == b""


def test_pipelined_requests_are_answered_in_order(weir):
    with Raw(weir.ports["git"]) as raw:
        raw.send(get() + "GET /healthz HTTP/1.1\r\n" + HOST + "\r\n" + "GET /nothing HTTP/1.1\r\n" + HOST + "\r\n" + get())
        answers = [raw.answer() for _ in range(4)]
    assert [a.status for a in answers][:2] == [200, 200] and answers[3].status == 200
    assert answers[1].text.strip() == "ok" and answers[2].status in (400, 403, 404)


def test_a_request_may_come_byte_by_byte(weir):
    with Raw(weir.ports["git"]) as raw:
        raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for c in get("X-Slowly: yes"):
            raw.send(c)
        assert raw.answer().status == 200


def test_head_has_the_headers_of_get_and_no_body(weir):
    with Raw(weir.ports["git"]) as raw:
        raw.send("HEAD /livez HTTP/1.1\r\n" + HOST + "Connection: close\r\n\r\n")
        head, _, body = raw.read_to_end().partition(b"\r\n\r\n")
    plain = weir.ask("GET", "/livez")
    assert body == b"" and b"content-length: %d" % len(plain.body) in head.lower()


def test_http_1_0_is_answered_and_closed(weir):
    with Raw(weir.ports["git"]) as raw:
        raw.send("GET /livez HTTP/1.0\r\n" + HOST + "\r\n")
        answer = raw.read_to_end()
    assert b" 200 " in answer[:20] and b"chunked" not in answer.lower()


# Bodies

def git_post(weir, *lines):
    return ("POST /git.test/org/project/git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % weir.ports["git"]
            + "".join("%s: %s\r\n" % item for item in POST_V2.items()) + "".join(l + "\r\n" for l in lines) + "\r\n")


@pytest.fixture(scope="module")
def listed(shared_site):
    """A repository that anybody may list, and what its listing is."""
    shared_site.upstream.ordinary_repo("org/project")
    shared_site.warm("org/project")
    return shared_site.weir.ask_ls_refs("org/project").body


def test_a_body_may_wait_for_100_continue(weir, listed):
    body = ls_refs()
    with Raw(weir.ports["git"]) as raw:
        raw.send(git_post(weir, "Expect: 100-continue", "Content-Length: %d" % len(body)))
        assert raw.answer().status == 100
        raw.send(body)
        assert raw.answer().body == listed


def test_a_body_may_come_chunked_in_odd_pieces(weir, listed):
    body = ls_refs()
    with Raw(weir.ports["git"]) as raw:
        raw.send(git_post(weir, "Transfer-Encoding: chunked"))
        for i in range(0, len(body), 7):
            piece = body[i:i + 7]
            raw.send("%X;ext=\"a b\"\r\n" % len(piece)).send(piece + b"\r\n")
        raw.send("0\r\nX-Trailer: yes\r\n\r\n")
        answer = raw.answer()
    assert answer.status == 200 and (answer.body == listed or not answer.body)


def test_a_body_may_come_compressed(weir, listed):
    headers = dict(POST_V2, **{"Content-Encoding": "gzip"})
    answer = weir.ask("POST", "/git.test/org/project/git-upload-pack", headers, gzip.compress(ls_refs()))
    assert answer.body == listed


@pytest.mark.parametrize("body,coding", [(b"not gzip at all", "gzip"), (gzip.compress(ls_refs())[:-9], "gzip"),
                                         (gzip.compress(ls_refs()), "br")], ids=["rubbish", "cut short", "unknown"])
def test_a_body_in_a_broken_coding_is_refused(weir, listed, body, coding):
    answer = weir.ask("POST", "/git.test/org/project/git-upload-pack", dict(POST_V2, **{"Content-Encoding": coding}), body)
    assert answer.status in (400, 415), answer


@pytest.mark.parametrize("body", [b"", b"0000", b"00", b"zzzz", b"0005x", b"fff0" + b"x" * 20, b"0011command=push0000",
                                  ls_refs() + b"0003", ls_refs()[:-4], b"\0" * 64],
                         ids=lambda b: repr(b[:12]))
def test_a_body_that_is_no_git_command_is_an_error_and_harmless(weir, listed, body):
    answer = weir.ask("POST", "/git.test/org/project/git-upload-pack", POST_V2, body)
    assert answer.status in (200, 400, 403), answer
    assert answer.status != 200 or b"ERR" in answer.body or not [p for p in pkts(answer.body) if p and len(p) > 40]
    assert weir.ask_ls_refs("org/project").body == listed


def test_a_body_above_the_limit_is_refused(site):
    weir = site.start_weir(limits={"request_body": "64KiB"})
    big = b"x" * (200 * 1024)
    with Raw(weir.ports["git"]) as raw:
        raw.send(git_post(weir, "Content-Length: %d" % len(big)))
        assert int(raw.read_until(b"\r\n").split()[1]) == 413
    with Raw(weir.ports["git"]) as raw:
        raw.send(git_post(weir, "Transfer-Encoding: chunked"))
        try:
            for i in range(0, len(big), 8192):
                raw.send(b"2000\r\n" + big[i:i + 8192] + b"\r\n")
        except OSError:
            pass
        assert int(raw.read_until(b"\r\n").split()[1]) == 413
    assert site.proxy.seen("git-upload-pack", "POST") == []


def test_a_gzip_bomb_is_refused_and_costs_little_memory(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(limits={"request_body": "16MiB"})
    site.warm("org/project")
    bomb = gzip.compress(b"0" * (400 * 1024 * 1024), 9)
    before = weir.metric("weir_process_resident_memory_bytes")
    answer = weir.ask("POST", "/git.test/org/project/git-upload-pack", dict(POST_V2, **{"Content-Encoding": "gzip"}), bomb)
    assert answer.status in (400, 413), answer
    assert weir.metric("weir_process_resident_memory_bytes") - before < 100 * 1024 * 1024


def test_connections_above_the_limit_are_turned_away(site):
    weir = site.start_weir(limits={"connections": 16})
    many = [Raw(weir.ports["git"]) for _ in range(40)]
    turned_away = 0
    for raw in many:
        try:
            raw.sock.settimeout(3)
            raw.send(get())
            turned_away += raw.answer().status == 503
        except (OSError, AssertionError):
            turned_away += 1
    assert 20 <= turned_away < 40
    for raw in many:
        raw.close()
    wait_until(lambda: ask_quietly(weir) == 200, what="room again")


def ask_quietly(weir):
    try:
        return weir.ask("GET", "/livez").status
    except OSError:
        return 0


# Who leaves

@pytest.mark.parametrize("command", ["ls-refs", "fetch"])
def test_a_client_that_leaves_cancels_what_only_it_wanted(site, command):
    repo = site.upstream.ordinary_repo("org/project")
    repo.bulk(300)
    weir = site.weir
    site.proxy.hold(0, match="command=" + command)
    if command == "fetch":
        clone = site.git.start_clone(weir.url("org/project"))
    else:
        clone = site.git.start(*site.git.options(), "ls-remote", weir.url("org/project"))
    site.proxy.wait_held()
    clone.kill()
    clone.wait()
    wait_until(lambda: any(r.abandoned for r in site.proxy.seen("command=" + command)), 10,
               "weir hangs up on the upstream")
    wait_until(lambda: git_children(weir) == 0, 10, "weir's git is gone")
    site.proxy.release()
    assert site.git.try_clone(weir.url("org/project")).ok


def git_children(weir):
    with open("/proc/%d/task/%d/children" % (weir.process.pid, weir.process.pid)) as f:
        mine = f.read().split()
    for task in os.listdir("/proc/%d/task" % weir.process.pid):
        with open("/proc/%d/task/%s/children" % (weir.process.pid, task)) as f:
            mine += f.read().split()
    return len(set(mine))


def test_clients_that_leave_in_every_state_do_no_harm(site):
    site.upstream.ordinary_repo("org/project").bulk(2048)
    weir = site.weir
    site.warm("org/project")
    tip = weir.ask_ls_refs("org/project", ["refs/heads/main"]).body[4:44].decode()
    body = fetch([tip])
    whole = git_post(weir, "Content-Length: %d" % len(body)).encode() + body
    for cut in (1, 20, 100, len(whole) - len(body), len(whole) - 5, len(whole)):
        for _ in range(3):
            raw = Raw(weir.ports["git"])
            raw.send(whole[:cut])
            if cut == len(whole):
                raw.read_until(b"\r\n\r\n")
            raw.close()
    wait_until(lambda: git_children(weir) == 0, 15, "no git of weir's is left")
    wait_until(lambda: weir.metric("weir_http_connections") <= 2, 15, "no connection is left")
    assert site.git.try_clone(weir.url("org/project")).ok


# Names and hosts

def test_connect_gets_a_405_that_names_the_way(weir):
    with Raw(weir.ports["git"]) as raw:
        raw.send("CONNECT git.test:443 HTTP/1.1\r\nHost: git.test:443\r\n\r\n")
        answer = raw.answer()
    assert answer.status == 405 and "insteadOf" in answer.text and "url." in answer.text


def test_git_behind_https_through_http_proxy_sees_that_message(shared_site, weir):
    result = shared_site.git.try_clone("https://git.test/org/project", proxy=weir.proxy)
    assert not result.ok and "405" in result.err


def test_a_host_that_is_not_listed_gets_403_with_the_line_to_add(shared_site, weir):
    shared_site.proxy.forget()
    for target in ("/other.test/org/project/info/refs?service=git-upload-pack",
                   "http://other.test/org/project/info/refs?service=git-upload-pack"):
        answer = weir.ask("GET", target)
        assert answer.status == 403 and "upstreams" in answer.text
        assert "match: " in answer.text and "other.test" in answer.text and "url: " in answer.text
    result = shared_site.git.try_clone(weir.url("org/project", host="other.test"))
    assert not result.ok and "match: " in result.err
    direct = "127.0.0.1:%d" % shared_site.upstream.port
    assert weir.ask("GET", "/%s/org/project/info/refs?service=git-upload-pack" % direct).status == 403
    assert shared_site.proxy.seen() == []


TRICKS = [
    "/git.test/../../../../etc/passwd", "/git.test/org/../../../project", "/git.test/%2e%2e/%2e%2e/project",
    "/git.test/org/..", "/git.test/org/.%2e/project", "/git.test/./org/project", "/../git.test/org/project",
    "/git.test/org/pro%00ject", "/git.test/%00", "/git.test%00.evil.test/org/project", "/git.test/org/pro%0aject",
    "/git.test/org/pro%0d%0aX:%20y", "/git.test/org%2f..%2f..%2fproject", "/git.test/org/pro%5cject",
    "/git.test/--upload-pack=touch%20pwned/x", "/git.test/-oProxyCommand=touch/x", "/--upload-pack=x/org/project",
    "/git.test/-project", "/git.test//etc/passwd", "/git.test/org//project", "/git.test/.git/config", "/git.test/",
    "/git.test", "/git.test/org/project%ff%fe", "/git.test/org/pro%zzject", "/git.test/org/pro%", "/git.test/" + "a/" * 900,
    "/git.test/" + "x" * 5000, "/git.test/org/project;ls", "/git.test/org/$(touch pwned)".replace(" ", "%20"),
    "/git.test/org/project.lock", "/user@git.test/org/project", "/git.test:99999/org/project", "/git.test:/org/project",
]


def tree(folder):
    return {os.path.join(where, n) for where, dirs, names in os.walk(folder) for n in dirs + names}


@pytest.mark.parametrize("path", TRICKS, ids=lambda p: p[:40])
def test_no_trick_in_a_name_reaches_a_file_or_a_command(shared_site, weir, path):
    before = tree(shared_site.dir) - tree(shared_site.upstream.dir)
    shared_site.proxy.forget()
    with Raw(weir.ports["git"]) as raw:
        raw.send("GET %s/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
        status = int(raw.read_until(b"\r\n").split()[1])
    assert status in (400, 403, 404, 414), status
    dangerous = ("..", "%2e", "%00", "%0", "%5c", "/-", "//", "%zz", "./")
    if any(d in path for d in dangerous):
        assert shared_site.proxy.seen() == [], "it was passed on"
    after = tree(shared_site.dir) - tree(shared_site.upstream.dir)
    assert after - before == set() and not os.path.exists(os.path.join(shared_site.dir, "pwned"))


@pytest.mark.parametrize("what,method", [("info/refs?service=git-evil-pack", "GET"), ("info/refs", "GET"), ("HEAD", "GET"),
                                         ("objects/info/packs", "GET"), ("config", "GET"), ("git-upload-archive", "POST"),
                                         ("git-upload-pack", "GET"), ("git-upload-pack", "PUT"),
                                         ("info/refs?service=git-upload-pack", "POST"), ("", "GET")])
def test_only_smart_http_is_spoken(shared_site, weir, what, method):
    shared_site.proxy.forget()
    answer = weir.ask(method, weir.repo_target("org/project", what), body=b"" if method != "GET" else None)
    assert answer.status in (400, 403, 404, 405), answer
    assert shared_site.proxy.seen() == []
