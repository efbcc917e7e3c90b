"""Repositories kept filled unasked, made fresh by a webhook, brought back from a backup; and the alerts that watch."""

import glob
import hashlib
import hmac
import json
import os
import shutil
import subprocess

import pytest

from lab.daemon import REPOSITORY
from lab.gitkit import assert_same_as_direct
from lab.wait import wait_until

SECRET = "hook-secret"


# Warm

def test_the_warm_list_fills_repositories_that_nobody_asked_for(site):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(git={"warm": {"repos": ["git.test/org/project"], "every": "1s"}})
    weir.wait_filled("org/project")
    tip = repo.commit("main", count=2)
    wait_until(lambda: site.proxy.count(command="fetch") >= 2, what="weir came back for more")
    wait_until(lambda: site.proxy.seen(command="fetch")[-1].done)
    weir.wait_filled("org/project")
    site.go_offline()
    clone = site.git.clone(weir.url("org/project"))
    assert clone.rev("HEAD") == tip and clone.run("fsck", "--full").ok


def test_the_warm_list_survives_an_unknown_repository_and_an_outage(site):
    site.upstream.ordinary_repo("org/project")
    site.proxy.refuse()
    weir = site.start_weir(git={"warm": {"repos": ["git.test/org/nothing", "git.test/org/project"], "every": "1s"}})
    weir.wait_upstream("down")
    site.proxy.pass_all()
    weir.wait_filled("org/project")
    assert weir.repo("org/nothing") is None or weir.repo("org/nothing")["refs"] == 0


def test_a_warm_entry_for_an_unlisted_host_is_a_configuration_error(site):
    weir = site.new_weir(git={"warm": {"repos": ["elsewhere.test/org/project"]}})
    code, out, err = weir.command("check", "-c", weir.config_path)
    assert code == 2 and "git.warm.repos" in out + err and "elsewhere.test" in out + err


# The push webhook

def github(name, secret=SECRET, host="git.test"):
    body = json.dumps({"ref": "refs/heads/main", "repository": {
        "full_name": name, "clone_url": "https://%s/%s.git" % (host, name),
        "html_url": "https://%s/%s" % (host, name)}}).encode()
    sign = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign}, body


def gitlab(name, secret=SECRET, host="git.test"):
    body = json.dumps({"object_kind": "push", "ref": "refs/heads/main", "project": {
        "path_with_namespace": name, "git_http_url": "https://%s/%s.git" % (host, name),
        "web_url": "https://%s/%s" % (host, name)}}).encode()
    return {"Content-Type": "application/json", "X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}, body


@pytest.fixture
def hooked(site):
    site.repository = site.upstream.ordinary_repo("org/project")
    site.start_weir(git={"refs_ttl": "5m", "webhook_secret_file": site.file("hook", SECRET + "\n")})
    site.warm("org/project")
    return site


def tip_seen(site):
    return site.git.ls_remote(site.weir.url("org/project")).refs["refs/heads/main"]


@pytest.mark.parametrize("kind", [github, gitlab], ids=["GitHub", "GitLab"])
def test_a_push_webhook_makes_the_next_listing_fresh(hooked, kind):
    old = hooked.repository.rev()
    new = hooked.repository.commit("main")
    assert tip_seen(hooked) == old                  # within the TTL
    answer = hooked.weir.ask("POST", "/hooks/push", *kind("org/project"))
    assert answer.status in (200, 202, 204), answer
    assert tip_seen(hooked) == new
    wait_until(lambda: hooked.proxy.count(command="fetch") >= 2, what="and it is synced unasked")
    hooked.weir.wait_filled("org/project")
    hooked.go_offline()
    assert hooked.git.clone(hooked.weir.url("org/project"), "--mirror").rev("main") == new


@pytest.mark.parametrize("kind", [github, gitlab], ids=["GitHub", "GitLab"])
def test_a_webhook_with_a_wrong_secret_changes_nothing(hooked, kind):
    old = hooked.repository.rev()
    hooked.repository.commit("main")
    headers, body = kind("org/project", "not-the-secret")
    assert hooked.weir.ask("POST", "/hooks/push", headers, body).status in (401, 403)
    for name in ("X-Hub-Signature-256", "X-Gitlab-Token"):
        headers.pop(name, None)
    assert hooked.weir.ask("POST", "/hooks/push", headers, body).status in (401, 403)
    assert tip_seen(hooked) == old


def test_a_signature_over_another_body_is_wrong(hooked):
    headers, _ = github("org/other")
    assert hooked.weir.ask("POST", "/hooks/push", headers, github("org/project")[1]).status in (401, 403)


def test_a_webhook_for_what_weir_does_not_hold_fetches_nothing(hooked):
    hooked.upstream.ordinary_repo("org/other")
    hooked.proxy.forget()
    for headers, body in (github("org/other"), github("org/project", host="elsewhere.test")):
        assert hooked.weir.ask("POST", "/hooks/push", headers, body).status < 500
    assert hooked.weir.repo("org/other") is None
    assert hooked.proxy.seen("org/other") == []
    headers, _ = gitlab("org/project")
    assert hooked.weir.ask("POST", "/hooks/push", headers, b"{not json").status == 400
    assert hooked.weir.ask("GET", "/hooks/push").status == 405


def test_without_a_secret_there_is_no_webhook(site):
    assert site.weir.ask("POST", "/hooks/push", *github("org/project")).status == 404


# Backup, as docs/operations.md has it: rsync -a --delete, twice, while it runs, without the lock and what is being made

def mirror(source, target):
    """What `rsync -a --delete --exclude=/lock --exclude='*/tmp/'` does, for machines without rsync."""
    kept = set()
    for folder, folders, names in os.walk(source):
        folders[:] = [f for f in folders if f != "tmp" or folder == source]
        here = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(here, exist_ok=True)
        for name in names:
            if folder == source and name == "lock":
                continue
            try:                        # packs are read-only, so a new file takes the old one's place, as rsync's do
                shutil.copy2(os.path.join(folder, name), os.path.join(target, ".new"))
                os.replace(os.path.join(target, ".new"), os.path.join(here, name))
                kept.add(os.path.normpath(os.path.join(here, name)))
            except FileNotFoundError:
                pass                    # moved meanwhile
    for folder, _, names in os.walk(target):
        for name in names:
            if os.path.normpath(os.path.join(folder, name)) not in kept:
                os.unlink(os.path.join(folder, name))


def test_a_backup_taken_while_running_serves_offline(site):
    site.upstream.ordinary_repo("org/project").commit("main", count=50)
    site.upstream.ordinary_repo("private/project")
    site.upstream.passwords({"ann": "secret"})
    busy = site.upstream.ordinary_repo("org/busy")
    weir = site.weir
    site.warm("org/project")
    site.git.clone(weir.url("private/project", "ann", "secret"), "--mirror")
    weir.wait_filled("private/project")
    direct = site.git.clone(site.upstream.url("org/project"), "--mirror")

    busy.bulk(200)                      # in the middle of a sync of something else
    site.proxy.hold(100 * 1024, match="org/busy")
    under_way = site.git.start_clone(weir.url("org/busy"))
    wait_until(lambda: site.proxy.held() or not under_way.running())
    backup = os.path.join(site.dir, "backup")
    mirror(weir.data_dir, backup)
    mirror(weir.data_dir, backup)
    site.proxy.release()
    under_way.wait()

    weir.stop()
    site.proxy.refuse()
    restored = site.start_weir("restored", data_dir=backup)
    assert_same_as_direct(site.git.clone(restored.url("org/project"), "--mirror"), direct)
    assert site.git.try_clone(restored.url("private/project", "ann", "secret")).ok
    assert not site.git.try_clone(restored.url("private/project", "ann", "wrong")).ok
    code, out, err = restored.command("repo", "verify", "git.test/org/project")
    assert code == 0, (out, err)


# Alerts

def promtool(*args):
    return subprocess.run(["promtool", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=os.path.join(REPOSITORY, "deploy", "prometheus"), check=False)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is not installed")
def test_alert_rules_are_sound_and_fire_when_they_should():
    rules = promtool("check", "rules", "alerts.yml")
    assert rules.returncode == 0, rules.stdout
    tests = [os.path.basename(t) for t in glob.glob(os.path.join(REPOSITORY, "deploy", "prometheus", "*_test.yml"))]
    assert tests
    fired = promtool("test", "rules", *tests)
    assert fired.returncode == 0 and "SUCCESS" in fired.stdout, fired.stdout


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is not installed")
def test_promtool_finds_nothing_wrong_with_the_metrics(site):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    check = subprocess.run(["promtool", "check", "metrics"], input=site.weir.metrics_text(), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert check.returncode == 0, check.stdout
