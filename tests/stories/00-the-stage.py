"""Before weir comes on: the upstream, the fault proxy and git do what the stories say that they do.

Here git talks to the upstream through the fault proxy alone.
"""

import socket
import threading

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until
from lab.wire import Raw, basic, fetch, ls_refs, pkts, request, POST_V2


def through(site, name):
    return "%s/%s" % (site.proxy.url, name)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_git_clones_through_the_proxy_as_if_it_were_not_there(site, protocol, object_format):
    repo = site.upstream.ordinary_repo("org/project", object_format)
    clone = site.git.clone(through(site, "org/project"), "--mirror", protocol=protocol)
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror", protocol=protocol)
    assert_same_as_direct(clone, direct)
    assert site.proxy.count("git-upload-pack", "POST", "fetch" if protocol == 2 else "") >= 1
    if object_format == "sha1":
        assert site.proxy.objects_sent() == repo.object_count()


def test_an_upstream_may_be_stopped_and_started_on_its_port(site):
    site.upstream.ordinary_repo("org/project")
    site.upstream.stop()
    assert not site.git.try_clone(site.upstream.url("org/project")).ok
    site.upstream.start()
    assert site.git.try_clone(site.upstream.url("org/project")).ok


def test_weir_comes_back_on_its_port_though_somebody_has_it_for_a_moment(site):
    """Any connection of this machine may be given the port while weir is down."""
    weir = site.start_weir()
    port = weir.ports["git"]
    weir.stop()
    other = socket.socket()
    other.bind(("127.0.0.1", port))
    other.listen()
    threading.Timer(1, other.close).start()
    weir.start(keep_ports=True)
    assert weir.ports["git"] == port
    assert weir.log_has("started")


def test_private_repositories_follow_the_password_file(site):
    site.upstream.ordinary_repo("private/project")
    site.upstream.passwords({"ann": "first"})
    assert site.git.try_clone(site.upstream.url("private/project", "ann", "first")).ok
    assert not site.git.try_clone(site.upstream.url("private/project", "ann", "second")).ok
    assert not site.git.try_clone(site.upstream.url("private/project")).ok
    site.upstream.passwords({"ann": "second"})
    assert not site.git.try_clone(site.upstream.url("private/project", "ann", "first")).ok
    answer = request(site.proxy.port, "GET", "/private/project/info/refs?service=git-upload-pack",
                     {"Authorization": basic("ann", "second")})
    assert answer.status == 200


def test_the_proxy_refuses_and_comes_back(site):
    site.upstream.ordinary_repo("org/project")
    site.proxy.refuse()
    result = site.git.try_clone(through(site, "org/project"))
    assert not result.ok and "Couldn't connect" in result.err
    site.proxy.pass_all()
    assert site.git.try_clone(through(site, "org/project")).ok


def test_the_proxy_is_unreachable_and_comes_back(site):
    site.upstream.ordinary_repo("org/project")
    site.proxy.unreachable()
    with pytest.raises(OSError):
        Raw(site.proxy.port, timeout=0.5)
    site.proxy.pass_all()
    assert site.git.try_clone(through(site, "org/project")).ok


def test_a_black_hole_reads_and_never_answers(site):
    site.proxy.black_hole()
    with Raw(site.proxy.port, timeout=0.3) as raw:
        raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(OSError):
            raw.read_to_end()
    wait_until(lambda: site.proxy.seen()[0].abandoned)


def test_cut_shortened_and_corrupted_answers_break_a_clone(site):
    site.upstream.ordinary_repo("org/project").bulk(100)
    for fault in (site.proxy.cut, site.proxy.shorten, site.proxy.corrupt):
        fault(50000, match="command=fetch")
        assert not site.git.try_clone(through(site, "org/project")).ok
    site.proxy.pass_all()
    assert site.git.try_clone(through(site, "org/project")).ok


@pytest.mark.parametrize("after", [None, 0, 50000])
def test_a_held_answer_goes_on_when_released(site, after):
    site.upstream.ordinary_repo("org/project").bulk(100)
    site.proxy.hold(after, match="command=fetch")
    clone = site.git.start_clone(through(site, "org/project"))
    site.proxy.wait_held()
    assert clone.running()
    site.proxy.release()
    assert clone.wait().ok
    assert site.proxy.held() == 0


def test_a_fixed_status_is_answered_and_slow_is_slow_but_whole(site):
    site.upstream.ordinary_repo("org/project").bulk(30)
    site.proxy.answer(503, [("Retry-After", "7")])
    answer = request(site.proxy.port, "GET", "/org/project/info/refs?service=git-upload-pack")
    assert answer.status == 503 and answer.headers["retry-after"] == "7"
    site.proxy.slow(100 * 1024)
    result = site.git.try_clone(through(site, "org/project"))
    assert result.ok and result.seconds > 0.25


def test_a_push_arrives_and_the_wire_helpers_speak_git(site):
    repo = site.upstream.ordinary_repo("org/project")
    clone = site.git.clone(through(site, "org/project"))
    clone.run("commit", "-q", "--allow-empty", "-m", "pushed")
    clone.run("push", "-q", "origin", "HEAD:main")
    assert repo.rev() == clone.rev("HEAD")
    answer = request(site.proxy.port, "POST", "/org/project/git-upload-pack", POST_V2, ls_refs(["refs/heads/"]))
    assert any(repo.rev().encode() in (p or b"") for p in pkts(answer.body))
    answer = request(site.proxy.port, "POST", "/org/project/git-upload-pack", POST_V2, fetch([repo.rev()]))
    assert b"PACK" in answer.body
