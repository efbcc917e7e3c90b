"""What `make install` puts where, and that it is of use there: programs, their other names, the library, the manual."""

import os
import re
import subprocess

import pytest

from lab.client import CRASHABLE
from lab.daemon import REPOSITORY, binary, sanitizer_environment
from lab.sessions import Sessions
from lab.wait import wait_until


def output(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **more).stdout


class Installed:
    """A folder into which `make install` has put what was built beside WEIR_BIN."""

    def __init__(self, folder):
        self.root = os.path.join(str(folder), "root")
        built = os.path.dirname(os.path.abspath(binary()))
        done = subprocess.run(["make", "install", "FROM=" + built, "DESTDIR=" + self.root], cwd=REPOSITORY,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout
        self.files = []
        for at, _, names in os.walk(self.root):
            self.files += [os.path.relpath(os.path.join(at, n), self.root) for n in names]

    def path(self, end):
        """The one file whose path ends so."""
        found = [f for f in self.files if f.endswith(end)]
        assert len(found) == 1, "%s: %s of %s" % (end, found, self.files)
        return os.path.join(self.root, found[0])

    def compiler_flags(self, *more):
        pkgconfig = os.path.dirname(self.path("pkgconfig/weir-client.pc"))
        env = dict(os.environ, PKG_CONFIG_LIBDIR=pkgconfig, PKG_CONFIG_SYSROOT_DIR=self.root)
        return output("pkg-config", "--cflags", "--libs", *more, "weir-client", env=env).split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


def symbols(path, *options):
    lines = output("nm", "--defined-only", "-f", "posix", *options, path).splitlines()
    return {words[0].split("@")[0] for words in map(str.split, lines) if len(words) > 2}


def sanitizers(installed):
    """Options for a program that uses a library which was built with a sanitizer."""
    wanted = output("nm", "-D", installed.path("/libweir-client.so.0"))
    options = {"__asan_init": "-fsanitize=address,undefined", "__tsan_init": "-fsanitize=thread",
               "__gcov": "--coverage"}
    return [option for symbol, option in options.items() if symbol in wanted]


def test_the_programs_and_their_other_names(installed):
    weir = installed.path("bin/weir")
    assert os.access(weir, os.X_OK)
    for name in ("datacat-daemon", "datacat-server"):
        link = os.path.join(os.path.dirname(weir), name)
        assert os.path.islink(link) and os.path.realpath(link) == os.path.realpath(weir)
    assert "0.1" in output(weir, "--version", env=dict(os.environ, **sanitizer_environment()))


def test_the_pages_are_in_the_program_and_want_nothing_beside_it(site, installed, monkeypatch):
    """No Node.js on the PATH, no file of theirs among what is installed."""
    monkeypatch.setenv("WEIR_BIN", installed.path("bin/weir"))
    assert not [f for f in installed.files if f.endswith((".js", ".css", ".html", ".svg"))]
    hub = site.hub(env={"PATH": "/nonexistent"})
    text = hub.ask("GET", "/").text
    parts = re.findall(r'(?:src|href)="(assets/[^"]+)"', text)
    assert len(parts) == 4, text
    assert all(hub.ask("GET", "/" + part).status == 200 for part in parts)


def test_every_manual_page(installed):
    pages = [n for n in os.listdir(os.path.join(REPOSITORY, "docs", "man")) if n[-1].isdigit()]
    assert {"weir.1", "weir.yaml.5", "weir_client.3"} <= set(pages)
    for page in pages:
        assert os.path.getsize(installed.path("man/man%s/%s" % (page[-1], page))) > 1000


def test_the_library_exports_what_the_header_declares(installed):
    with open(installed.path("include/weir/client.h"), encoding="utf-8") as f:
        header = f.read()
    declared = {w for line in header.split("WEIR_API ")[1:] for w in [line.split("(")[0].split()[-1].lstrip("*")]
                if w.startswith("weir_client_")}
    assert len(declared) == 17
    exported = {s for s in symbols(installed.path("/libweir-client.so.0"), "-D") if s.startswith("weir")}
    everything = symbols(installed.path("/libweir-client.so.0"), "-D")
    assert exported == declared
    assert not [s for s in everything - exported if not s.startswith(("WEIR_CLIENT_", "_"))]
    inside = symbols(installed.path("/libweir-client.a"), "-g")
    assert declared <= inside and not [s for s in inside if not s.startswith(("weir_client_", "weirc_", "_"))]


def test_the_shared_library_needs_libc_alone(installed):
    out = output("readelf", "-d", installed.path("/libweir-client.so.0"))
    needed = [line.split("[")[1].rstrip("]") for line in out.splitlines() if "(NEEDED)" in line]
    sanitizer = ("libasan.", "libtsan.", "libubsan.", "libm.", "libgcc_s.")
    assert [n for n in needed if not n.startswith(sanitizer)] == ["libc.so.6"], needed
    assert "Library soname: [libweir-client.so.0]" in out


@pytest.mark.parametrize("how", ["shared", "static"])
@pytest.mark.parametrize("example", ["command-line-tool", "game-loop"])
def test_an_example_built_as_its_essay_says_runs_and_reports(site, installed, example, how):
    source = os.path.join(REPOSITORY, "examples", example + ".c")
    with open(source, encoding="utf-8") as f:
        assert "cc -O2 %s.c -o %s $(pkg-config --cflags --libs weir-client)" % (example, example) in f.read()
    program = os.path.join(site.dir, example)
    flags = installed.compiler_flags(*(["--static"] if how == "static" else []))
    if how == "static":
        flags = [installed.path("/libweir-client.a") if f == "-lweir-client" else f for f in flags]
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", source, "-o", program, *sanitizers(installed), *flags], check=True)
    stage = Sessions(site)
    try:
        env = dict(site.env, WEIR_SESSIONS_LISTEN="127.0.0.1:%d" % stage.port, LD_LIBRARY_PATH=os.path.dirname(
            installed.path("/libweir-client.so.0")), XDG_STATE_HOME=site.dir, **sanitizer_environment())
        env["ASAN_OPTIONS"] = CRASHABLE + env.get("ASAN_OPTIONS", "")
        subprocess.run([program, "20" if example == "game-loop" else source], env=env, check=True,
                       stdout=subprocess.DEVNULL)
        stage.wait_delivered()
        s, = wait_until(stage.hub.sessions)
        assert s["state"]["product"] == example and s["ended_at"] and not s["crashed"]
    finally:
        stage.close()


def test_the_quick_start_of_the_document_compiles_and_runs(site, installed):
    with open(os.path.join(REPOSITORY, "docs", "client.md"), encoding="utf-8") as f:
        document = f.read()
    source = os.path.join(site.dir, "game.c")
    with open(source, "w") as f:
        f.write(document.split("```c\n")[1].split("```")[0])
    program = os.path.join(site.dir, "game")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", source, "-o", program, *sanitizers(installed),
                    *installed.compiler_flags()], check=True)
    stage = Sessions(site)
    try:
        env = dict(site.env, WEIR_SESSIONS_LISTEN="127.0.0.1:%d" % stage.port, LD_LIBRARY_PATH=os.path.dirname(
            installed.path("/libweir-client.so.0")), XDG_STATE_HOME=site.dir, **sanitizer_environment())
        subprocess.run([program], env=env, check=True)
        python = document.split("```python\n")[2].split("```")[0].replace("8079", str(stage.port))
        subprocess.run(["/usr/bin/python3", "-c", python], env=site.env, check=True)
        stage.wait_delivered()
        game, tool = sorted(stage.hub.sessions(), key=lambda s: s["state"]["product"])
        assert [e["name"] for e in game["events"]] == ["level_started", "enemy_seen"] and not game["crashed"]
        assert {m["name"] for m in game["metrics"]} == {"fps", "shots", "load_level"}
        assert [e["name"] for e in tool["events"]] == ["opened"] and tool["ended_at"]
    finally:
        stage.close()
