"""Faults that a hunt through the daemon found; each story failed before its fault was mended."""

import glob
import os
import shutil
import signal
import threading
import time

from lab.gitkit import assert_same_as_direct
from lab.wire import basic

HIDING = """
$REQUEST_HEADER["Authorization"] == "{auth}" {{
    setenv.add-environment = ("GIT_PROJECT_ROOT" => "{root}", "GIT_HTTP_EXPORT_ALL" => "1", "HOME" => "{dir}",
                              "GIT_CONFIG_NOSYSTEM" => "1", "PATH" => "/usr/bin:/bin", "GIT_CONFIG_COUNT" => "1",
                              "GIT_CONFIG_KEY_0" => "transfer.hideRefs", "GIT_CONFIG_VALUE_0" => "{hidden}")
}}
"""


def children(weir, word):
    """Ids of weir's child processes whose command line contains `word`."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            with open(os.path.join(os.path.dirname(path), "cmdline"), "rb") as f:
                line = f.read()
        except (OSError, ValueError, IndexError):
            continue
        if parent == weir.process.pid and word.encode() in line:
            found.append(int(path.split("/")[2]))
    return found


def all_at_once(jobs):
    """Runs each job in a thread of its own; returns how many seconds each took."""
    took = [1000] * len(jobs)

    def run(i):
        started = time.monotonic()
        jobs[i]()
        took[i] = time.monotonic() - started

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return took


def test_being_asked_who_one_is_before_a_push_does_not_end_reading(site):
    """git asks without a password first; GitHub answers that with 401, whoever may read the repository."""
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    site.proxy.answer(401, [("WWW-Authenticate", 'Basic realm="x"')], match="git-receive-pack")
    answer = site.weir.ask("GET", site.weir.repo_target("org/project", "info/refs?service=git-receive-pack"))
    assert answer.status == 401
    site.go_offline()
    assert site.git.ls_remote(site.weir.url("org/project")).refs


def test_a_repository_about_which_upstream_is_silent_costs_patience_once_for_all(site):
    """However many different questions come at once: those that wait in line do not wait for each other's patience."""
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(limits={"workers": 8})
    site.warm("org/project")
    site.proxy.black_hole(match="org/project")
    took = all_at_once([lambda i=i: weir.ask_ls_refs("org/project", ["refs/heads/%d" % i]) for i in range(24)])
    assert max(took) < 4, took


def test_a_silent_repository_costs_a_fetch_patience_only_once(site):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"grant_ttl": "0s"})
    site.warm("org/project")
    site.proxy.black_hole(match="org/project")
    took = [all_at_once([lambda: weir.ask_fetch("org/project", [repo.rev()])])[0] for _ in range(4)]
    assert sum(took) < 3, took


def test_an_upstream_repository_made_anew_with_another_hash(site):
    repo = site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    shutil.rmtree(repo.path)
    site.upstream.ordinary_repo("org/project", object_format="sha256")
    first = site.git.run("ls-remote", site.weir.url("org/project"), check=False)
    assert first.ok or "try again" in first.err, first
    site.warm("org/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")
    site.go_offline()
    assert_same_as_direct(site.git.clone(site.weir.url("org/project"), "--mirror"), direct)


def test_a_killed_check_is_no_verdict(site):
    site.upstream.ordinary_repo("org/project").bulk(60000)
    site.warm("org/project")
    answers, killed = [], []

    def check():
        answers.append(site.weir.admin("POST", "/api/v1/repos/verify", {"repo": "git.test/org/project"}))

    while not killed:                   # the check may be over before it is met
        asked = threading.Thread(target=check)
        asked.start()
        while asked.is_alive() and not killed:
            killed = children(site.weir, "fsck")
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        asked.join()
    assert not site.weir.log_has("repo_quarantined"), answers
    assert answers[-1].status == 500, answers


def test_a_request_that_git_refuses_puts_no_suspicion_on_the_repository(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    url = site.weir.url("org/project")
    for option in ("--shallow-exclude=no-such-ref", "--filter=sparse:oid=v1.0"):
        assert not site.git.run("clone", "-q", "--bare", option, url, site.git.new_path(), check=False).ok
    answer = site.weir.ask_fetch("org/project", [site.git.ls_remote(url).refs["refs/heads/main"]])
    assert b"PACK" in answer.body
    assert not site.weir.log_has("repo_verified")


def test_a_reader_of_a_copy_that_was_moved_aside_and_made_anew(site):
    """It holds on to what it began with; when it ends, nothing counts it as a reader of the new one."""
    repo = site.upstream.ordinary_repo("org/project")
    repo.bulk(30000)
    site.warm("org/project")
    weir = site.weir
    shutil.rmtree(os.path.join(weir.data_dir, "git", "answers"), ignore_errors=True)
    weir.restart()
    stop, readings = threading.Event(), []

    def freeze():
        while not stop.is_set() and not (readings and not readings[0].running()):
            for pid in children(weir, "upload-pack"):
                os.kill(pid, signal.SIGSTOP)
                stop.set()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    readings.append(site.git.start_clone(weir.url("org/project")))
    freezer.join()
    assert stop.is_set(), "the reader was met"
    for pack in glob.glob(os.path.join(weir.data_dir, "git", "repos", "*", "git", "objects", "pack", "*.pack")):
        os.chmod(pack, 0o600)
        with open(pack, "r+b") as f:
            f.seek(3000)
            f.write(b"\0" * 64)
    assert weir.admin("POST", "/api/v1/repos/verify", {"repo": "git.test/org/project"}).json["state"] == "quarantined"
    weir.wait_filled("org/project")
    for pid in children(weir, "upload-pack"):
        os.kill(pid, signal.SIGCONT)
    readings[0].wait()
    assert_same_as_direct(site.git.clone(weir.url("org/project"), "--mirror"),
                          site.git.clone(site.upstream.url("org/project"), "--mirror"))
    assert weir.alive()


def two_views(site):
    """Ann sees refs/heads/a/, Bob refs/heads/b/, both the rest. What each sees, by name."""
    repo = site.upstream.ordinary_repo("org/project")
    for i in range(12):
        repo.commit("a/%d" % i, message="for ann")
        repo.commit("b/%d" % i, message="for bob")
    site.upstream.tls = "".join(
        HIDING.format(auth=basic(who, "x"), root=site.upstream.root, dir=site.upstream.dir, hidden=hidden)
        for who, hidden in (("ann", "refs/heads/b"), ("bob", "refs/heads/a")))
    site.upstream.restart()
    return {who: site.git.run("-c", "http.extraHeader=Authorization: " + basic(who, "x"), "ls-remote",
                              site.upstream.url("org/project")).out for who in ("ann", "bob")}


def test_what_each_credential_is_shown_stays_servable_to_it(site):
    weir = site.start_weir(git={"refs_scope": "credential"})
    shown = two_views(site)
    assert "refs/heads/a/1" in shown["ann"] and "refs/heads/b/1" not in shown["ann"], shown

    def ask(who, *command):
        return site.git.run("-c", "http.extraHeader=Authorization: " + basic(who, "x"), *command, check=False)

    url = weir.url("org/project")
    for who in ("ann", "bob", "ann", "bob"):
        assert ask(who, "ls-remote", url).out == shown[who]
        assert ask(who, "clone", "-q", "--mirror", url, site.git.new_path()).ok
        weir.wait_filled("org/project")
    assert "sync_failed" not in weir.whole_log()
    site.go_offline()
    for who in ("ann", "bob"):
        assert ask(who, "ls-remote", url).out == shown[who]
        assert ask(who, "clone", "-q", "--mirror", url, site.git.new_path()).ok


def test_credentials_that_come_and_go_leave_only_so_many_views(site):
    weir = site.start_weir(git={"refs_scope": "credential"})
    site.upstream.ordinary_repo("org/project")
    for i in range(262):
        assert weir.ask_ls_refs("org/project", ["refs/heads/main"], auth=basic("job", "token-%d" % i)).status == 200
    views = glob.glob(os.path.join(weir.data_dir, "git", "repos", "*", "refs-*"))
    assert 200 < len(views) <= 256, len(views)
    weir.restart()
    assert weir.ask_ls_refs("org/project", ["refs/heads/main"], auth=basic("job", "another")).status == 200


def test_a_repository_that_moved_away_and_another_that_took_its_place(site):
    """Where a redirect once led is no place to be told 404 by for ever."""
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"grant_ttl": "0s"})
    moved = repo.path.replace("project", "new")
    shutil.copytree(repo.path, moved)
    site.proxy.answer(301, [("Location", "/org/new.git/info/refs?service=git-upload-pack")], match="GET /org/project")
    assert site.git.ls_remote(weir.url("org/project")).refs
    site.proxy.pass_all()
    shutil.rmtree(moved)
    assert site.git.ls_remote(weir.url("org/project")).refs


def test_pushes_that_last_leave_questions_their_places(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(limits={"workers": 8}, links={"stall_timeout": "60s"})
    site.warm("org/project")
    site.proxy.hold(match="/git-receive-pack")
    pushes = [threading.Thread(target=lambda: weir.ask(
        "POST", weir.repo_target("org/project", "git-receive-pack"),
        {"Content-Type": "application/x-git-receive-pack-request"}, b"0000")) for _ in range(4)]
    for p in pushes:
        p.start()
    site.proxy.wait_held(2)
    took = all_at_once([lambda: weir.ask_ls_refs("org/project", timeout=8)])
    site.proxy.release()
    for p in pushes:
        p.join()
    assert max(took) < 3, took
