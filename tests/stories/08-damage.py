"""Killed in mid-sync, bits flipped, files lost, disk full: the next answer is right or says what is wrong.

Nothing corrupt is ever served, and `weir repo verify` sees what happened.
"""

import glob
import os
import re
import subprocess

import pytest

from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until

KILL_AT = [0, 100, 20 * 1024, 150 * 1024, 290 * 1024]


@pytest.mark.parametrize("at", KILL_AT)
def test_killed_in_the_middle_of_the_first_sync(site, at):
    site.upstream.ordinary_repo("org/project").bulk(300)
    site.proxy.hold(at, match="command=fetch")
    clone = site.git.start_clone(site.weir.url("org/project"), "--mirror")
    site.proxy.wait_held()
    site.weir.kill9()
    assert not clone.wait().ok
    site.proxy.release()
    site.weir.restart()
    again = site.git.clone(site.weir.url("org/project"), "--mirror")
    assert_same_as_direct(again, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    assert site.weir.command("repo", "verify", "git.test/org/project")[0] == 0


@pytest.mark.parametrize("at", KILL_AT)
def test_killed_in_the_middle_of_a_later_sync_and_offline_afterwards(site, at):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    before = site.git.clone(site.upstream.url("org/project"), "--mirror")
    repo.bulk(300)
    site.proxy.hold(at, match="command=fetch")
    clone = site.git.start_clone(site.weir.url("org/project"), "--mirror")
    site.proxy.wait_held()
    site.weir.kill9()
    clone.wait()
    site.proxy.refuse()
    site.weir.restart()
    offline = site.git.clone(site.weir.url("org/project"), "--mirror")
    assert_same_as_direct(offline, before)
    site.proxy.pass_all()
    site.come_back()
    again = site.git.clone(site.weir.url("org/project"), "--mirror")
    assert_same_as_direct(again, site.git.clone(site.upstream.url("org/project"), "--mirror"))


def test_killed_again_and_again_leaves_no_rubbish_behind(site):
    repo = site.upstream.ordinary_repo("org/project")
    repo.bulk(300)
    for _ in range(5):
        site.proxy.hold(200 * 1024, match="command=fetch")
        clone = site.git.start_clone(site.weir.url("org/project"))
        site.proxy.wait_held()
        site.weir.kill9()
        clone.wait()
        site.proxy.release()
        site.proxy.forget()
        site.weir.restart()
    site.warm("org/project")
    wait_until(lambda: folder_bytes(site.weir.data_dir) < 1000 * 1024, what="what was left half-way is cleared away")


def folder_bytes(folder):
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


# Bits flipped, files lost

def clone_again(site, name="org/project"):
    """Clone until it succeeds, which has to be soon."""
    def attempt():
        result = site.git.try_clone(site.weir.url(name), "--mirror")
        return result.ok and result
    return wait_until(attempt, what="a clone of %s succeeds again" % name).clone


def pack_of(site):
    packs = glob.glob(os.path.join(site.weir.data_dir, "**", "*.pack"), recursive=True)
    assert packs, "weir holds no pack"
    return max(packs, key=os.path.getsize)


def write_over(path, at, data):
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def flip_a_byte(path, at):
    with open(path, "rb") as f:
        f.seek(at)
        old = f.read(1)
    write_over(path, at, bytes([old[0] ^ 0xff]))


DAMAGES = {
    "a flipped byte in the pack": lambda pack: flip_a_byte(pack, os.path.getsize(pack) // 2),
    "a pack cut short": lambda pack: (os.chmod(pack, 0o644), os.truncate(pack, os.path.getsize(pack) // 2)),
    "a deleted pack": os.unlink,
    "a deleted idx": lambda pack: os.unlink(pack[:-5] + ".idx"),
    "a flipped byte in the idx": lambda pack: flip_a_byte(pack[:-5] + ".idx", 8 + 256 * 4 + 30),
}


# git sends packed objects as they lie on the disk and leaves it to the receiver to check them, as every git server does:
# a flipped byte is found by the client or by `weir repo verify`, never by the server in passing.
FOUND_BY_THE_CLIENT = ["a flipped byte in the pack"]
CLEAR = re.compile(r"weir: |repository corruption on the remote side")


def assert_refused_clearly(result, damage):
    assert not os.path.exists(result.path)
    if damage in FOUND_BY_THE_CLIENT:
        assert "bad object" in result.err, result.err
    else:
        assert CLEAR.search(result.err), result.err


@pytest.fixture
def damaged(site, request):
    """A warm repository with one of the damages, weir running or stopped meanwhile."""
    def make(damage, running):
        repo = site.upstream.ordinary_repo("org/project")
        repo.bulk(200)
        site.warm("org/project")
        site.direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
        if not running:
            site.weir.stop()
        DAMAGES[damage](pack_of(site))
        if not running:
            site.weir.restart()
        return site
    return make


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_sees_damage_and_the_repository_heals(damaged, damage, running):
    site = damaged(damage, running)
    code, out, err = site.weir.command("repo", "verify", "git.test/org/project", limit=60)
    assert code == 1 and "git.test/org/project" in out + err, (code, out, err)
    wait_until(lambda: site.weir.log_has("repo_quarantined", "org/project"), what="the damage is logged")

    clone = site.git.clone(site.weir.url("org/project"), "--mirror")
    assert_same_as_direct(clone, site.direct)
    site.weir.wait_filled("org/project")
    code, out, err = site.weir.command("repo", "verify", "git.test/org/project", limit=60)
    assert code == 0, (out, err)
    site.go_offline()                   # what is fetched unasked is here again (pull requests are not)
    clone = site.git.clone(site.weir.url("org/project"))
    assert clone.rev("HEAD") == site.direct.rev("main") and clone.run("fsck", "--full").ok


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_corrupt_is_served_and_soon_all_is_right_again(damaged, damage, running):
    site = damaged(damage, running)
    first = site.git.try_clone(site.weir.url("org/project"), "--mirror")
    if first.ok:
        assert_same_as_direct(first.clone, site.direct)
    else:
        assert_refused_clearly(first, damage)
    if damage in FOUND_BY_THE_CLIENT:
        assert site.weir.command("repo", "verify", "git.test/org/project", limit=60)[0] == 1
    assert_same_as_direct(clone_again(site), site.direct)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_found_offline_is_an_error_that_says_so(damaged, damage):
    site = damaged(damage, running=False)
    site.go_offline()
    result = site.git.try_clone(site.weir.url("org/project"), "--mirror")
    if result.ok:
        assert_same_as_direct(result.clone, site.direct)
    else:
        assert_refused_clearly(result, damage)
    site.come_back()
    if damage in FOUND_BY_THE_CLIENT:
        assert site.weir.command("repo", "verify", "git.test/org/project", limit=60)[0] == 1
    clone = clone_again(site)
    assert_same_as_direct(clone, site.direct)


def test_a_quarantined_repository_is_kept_as_evidence(damaged):
    site = damaged("a flipped byte in the pack", True)
    pack = pack_of(site)
    size = os.path.getsize(pack)
    site.weir.command("repo", "verify", "git.test/org/project")
    site.weir.wait_log("repo_quarantined")
    site.git.clone(site.weir.url("org/project"))
    kept = glob.glob(os.path.join(site.weir.data_dir, "**", os.path.basename(pack)), recursive=True)
    assert kept and os.path.getsize(kept[0]) == size


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x00" * 100], ids=["empty", "rubbish", "zeros"])
def test_weirs_own_small_files_may_be_damaged(site, content):
    """Everything in data_dir but packs is overwritten while weir is down; it starts and serves all the same."""
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    site.weir.stop()
    for folder, _, names in os.walk(site.weir.data_dir):
        for name in names:
            path = os.path.join(folder, name)
            if not path.endswith((".pack", ".idx")) and os.path.isfile(path):
                os.chmod(path, 0o600)
                with open(path, "wb") as f:
                    f.write(content)
    site.weir.restart()
    clone = clone_again(site)
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))


# Full disk

@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    where = str(tmp_path / "small")
    os.makedirs(where)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "weir-story", where], check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.fixture
def on_small_disk(small_disk, site):
    site.start_weir(data_dir=os.path.join(small_disk, "data"))
    yield site
    for weir in site.weirs:     # before the disk goes
        weir.finish()
        weir.expect_alive = False


def test_a_repository_larger_than_the_disk(on_small_disk):
    site = on_small_disk
    site.upstream.ordinary_repo("org/huge").bulk(12 * 1024)
    site.upstream.ordinary_repo("org/small")
    result = site.git.try_clone(site.weir.url("org/huge"), "--mirror")
    if result.ok:                   # streamed through
        assert_same_as_direct(result.clone, site.git.clone(site.upstream.url("org/huge"), "--mirror"))
    else:
        assert re.search(r"weir.*(space|disk|full)", result.err, re.S | re.I), result.err
        assert not os.path.exists(result.path)
    assert site.weir.alive()
    clone = clone_again(site, "org/small")
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("org/small"), "--mirror"))


def test_a_disk_that_somebody_else_has_filled(on_small_disk, small_disk):
    site = on_small_disk
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    filler = os.path.join(small_disk, "filler")
    with open(filler, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096):
                pass
        except OSError:
            pass
    warm = site.git.try_clone(site.weir.url("org/project"), "--mirror")
    if warm.ok:
        assert_same_as_direct(warm.clone, direct)
    else:
        assert re.search(r"weir.*(space|disk|full)", warm.err, re.S | re.I), warm.err

    repo.bulk(300)
    result = site.git.try_clone(site.weir.url("org/project"), "--mirror")
    if result.ok:
        assert_same_as_direct(result.clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    else:
        assert re.search(r"weir.*(space|disk|full)", result.err, re.S | re.I), result.err
    assert site.weir.alive()
    assert "ENOSPC" in site.weir.whole_log() or "space" in site.weir.whole_log()

    os.unlink(filler)
    again = clone_again(site)
    assert_same_as_direct(again, site.git.clone(site.upstream.url("org/project"), "--mirror"))
    site.weir.wait_filled("org/project")
    site.go_offline()
    assert site.git.try_clone(site.weir.url("org/project"), "--mirror").ok
