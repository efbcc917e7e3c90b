"""TLS on weir's listener, and towards an upstream."""

import os
import subprocess

import pytest

from lab.daemon import run_weir
from lab.gitkit import assert_same_as_direct
from lab.wire import Raw, request


@pytest.fixture
def certificate(site):
    """(cert, key): self-made, for 127.0.0.1 and localhost."""
    cert, key = os.path.join(site.dir, "cert.pem"), os.path.join(site.dir, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def secure(site, certificate):
    cert, key = certificate
    weir = site.start_weir(git={"cert_file": cert, "key_file": key})
    weir.scheme, weir.cafile = "https", cert
    site.trust = ["http.sslCAInfo=" + cert]
    return site


@pytest.mark.parametrize("protocol", [0, 2])
def test_git_clones_and_fetches_over_tls(secure, protocol):
    repo = secure.upstream.ordinary_repo("org/project")
    repo.bulk(1024)
    url = secure.weir.url("org/project")
    clone = secure.git.clone(url, "--mirror", protocol=protocol, config=secure.trust)
    repo.commit("main", count=2)
    clone.fetch("-q")
    assert_same_as_direct(clone, secure.git.clone(secure.upstream.url("org/project"), "--mirror"))
    secure.weir.wait_filled("org/project")
    secure.proxy.refuse()
    assert secure.git.try_clone(url, config=secure.trust).ok


def test_a_certificate_nobody_trusts_is_not_trusted(secure):
    secure.upstream.ordinary_repo("org/project")
    result = secure.git.try_clone(secure.weir.url("org/project"))
    assert not result.ok and "certificate" in result.err


def test_a_large_push_body_and_keep_alive_over_tls(secure):
    repo = secure.upstream.ordinary_repo("org/project")
    clone = secure.git.clone(secure.weir.url("org/project"), config=secure.trust)
    with open(os.path.join(clone.path, "big"), "wb") as f:
        f.write(os.urandom(3 * 1024 * 1024))
    clone.run("add", "big")
    clone.run("commit", "-q", "-m", "big")
    clone.run("push", "-q", "origin", "HEAD:main")
    assert repo.rev() == clone.rev("HEAD")


def test_plain_http_and_rubbish_on_a_tls_port_do_no_harm(secure):
    for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 1000, b""):
        with Raw(secure.weir.ports["git"]) as raw:
            if data:
                raw.send(data)
                assert b" 200 " not in raw.read_to_end()[:20]
    answer = request(secure.weir.ports["git"], "GET", "/livez", cafile=secure.weir.cafile)
    assert answer.status == 200


def test_certificate_and_key_come_together_and_have_to_be_readable(site, certificate):
    cert, key = certificate
    for git in ({"cert_file": cert}, {"cert_file": cert, "key_file": site.dir + "/nothing.pem"},
                {"cert_file": cert, "key_file": cert}):
        weir = site.new_weir(git=git)
        code, out, err = run_weir("serve", "-c", weir.config_path, env=weir.env, cwd=weir.dir)
        assert code == 2 and "key_file" in err, (git, out, err)


def test_an_https_upstream_with_a_ca_of_its_own(site, certificate):
    cert, key = certificate
    site.upstream.ordinary_repo("org/project")
    tls_port = site.upstream.add_tls(cert, key)
    upstream = {"match": "git.test", "url": "https://127.0.0.1:%d" % tls_port, "ca_file": cert}
    weir = site.start_weir(git={"upstreams": [upstream]})
    clone = site.git.clone(weir.url("org/project"), "--mirror")
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    weir.wait_filled("org/project")

    del upstream["ca_file"]             # now the upstream cannot be trusted: as good as away
    weir.configure(site.options(git={"upstreams": [upstream]}))
    weir.restart()
    assert site.git.try_clone(weir.url("org/project"), "--mirror").ok
    assert weir.log_has("offline_fallback", "org/project")
    cold = site.git.try_clone(weir.url("org/other"))
    assert not cold.ok and "weir" in cold.err and "git.test" in cold.err
