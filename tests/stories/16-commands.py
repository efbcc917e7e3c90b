"""The commands: check and its messages, overrides, reload, and looking at and steering a running daemon."""

import json
import os
import re
import signal
import subprocess

import pytest

from lab.daemon import binary, run_weir
from lab.wait import wait_until

COMMANDS = [("serve",), ("check",), ("status",), ("repo",), ("repo", "ls"), ("repo", "warm"), ("repo", "verify"),
            ("repo", "evict")]


# Help and usage

@pytest.mark.parametrize("command", [()] + COMMANDS, ids=" ".join)
def test_help_and_version_on_each(site, command):
    code, out, err = run_weir(*command, "--help", env=site.env)
    assert code == 0 and "usage" in out.lower() and not err
    assert all(word in out for word in command)
    if command == ("repo",):            # a group, not a command
        return
    code, out, err = run_weir(*command, "--version", env=site.env)
    assert code == 0 and re.search(r"weir \d+\.\d+", out) and not err


@pytest.mark.parametrize("args", [(), ("dance",), ("serve", "--dance"), ("serve", "-c"), ("serve", "extra"), ("repo",),
                                  ("repo", "dance"), ("repo", "warm"), ("repo", "evict"), ("check", "--json"),
                                  ("serve", "--set", "nothing")], ids=" ".join)
def test_usage_errors_are_2_and_said_on_standard_error(site, args):
    code, out, err = run_weir(*args, env=site.env, cwd=site.dir)
    assert code == 2 and err and not out, (code, out, err)


# check

def check(site, text, name="weir.yaml"):
    path = site.file(name, text)
    code, out, err = run_weir("check", "-c", path, env=site.env, cwd=site.dir)
    return code, out + err


WRONG = """\
data_dir: data
log: {level: loud}
limits:
  connections: many
git:
  listen: nowhere
  refs_ttl: soon
  sync: sometimes
  upstream_patience: -3s
  colour: blue
  disk: {max: 5 apples}
  offline_mode: perhaps
  upstreams:
    - {match: git.test}
    - {match: other.test, url: "ftp://other.test"}
    - {match: third.test, url: "https://third.test", auth: magic}
painting: {}
"""
# (line, key, what is accepted)
PROBLEMS = [
    (2, "log.level", ["debug", "info", "warn", "error"]), (4, "limits.connections", []), (6, "git.listen", ["HOST:PORT"]),
    (7, "git.refs_ttl", ["ms", "s", "m", "h", "d"]), (8, "git.sync", ["full", "on_demand"]),
    (9, "git.upstream_patience", []), (10, "colour", ["refs_ttl"]), (11, "git.disk.max", ["KiB", "MiB", "GiB", "TiB"]),
    (12, "git.offline_mode", ["true", "false"]), (14, "url", []), (15, "url", ["http", "https"]),
    (16, "auth", ["passthrough", "none", "bearer", "basic"]), (17, "painting", ["git"]),
]


def test_check_tells_all_problems_at_once_with_file_line_key_and_what_is_accepted(site):
    code, said = check(site, WRONG)
    assert code == 2
    lines = said.splitlines()
    for number, key, accepted in PROBLEMS:
        mine = [l for l in lines if re.search(r"weir\.yaml:%d:" % number, l) and key in l]
        assert mine, "nothing about line %d (%s) in:\n%s" % (number, key, said)
        assert all(word in mine[0] for word in accepted), mine[0]


def test_serve_gives_the_same_messages_and_does_not_start(site):
    path = site.file("weir.yaml", WRONG)
    code, out, err = run_weir("serve", "-c", path, env=site.env, cwd=site.dir)
    assert code == 2 and "ready" not in out
    assert all("weir.yaml:%d:" % number in err for number, _, _ in PROBLEMS)


@pytest.mark.parametrize("text,line", [("git: [\n", None), ("git:\n  listen: 'x\n", None), ("git:\n\tlisten: x\n", 2),
                                       ("- a\n- b\n", 1), ("git: {refs_ttl: 1s}\ngit: {refs_ttl: 2s}\n", 2),
                                       ("just words\n", 1), ("log: [a]\n", 1), ("git: {refs_ttl: {a: b}}\n", 1),
                                       ("data_dir: \"\\0\"\n", 1), ("git: &a {warm: *a}\n", 1)],
                         ids=["open list", "open string", "tab", "a list", "twice", "a scalar", "list for map",
                              "map for scalar", "NUL", "itself"])
def test_what_is_no_yaml_or_of_the_wrong_shape(site, text, line):
    code, said = check(site, text)
    assert code == 2 and "weir.yaml:" in said, said
    if line:
        assert "weir.yaml:%d:" % line in said, said


def test_check_of_a_good_file_a_missing_one_and_none(site):
    assert check(site, site.new_weir().dir and "data_dir: x\ngit:\nadmin:\n")[0] == 0
    code, out, err = run_weir("check", "-c", site.dir + "/nothing.yaml", env=site.env)
    assert code == 2 and "nothing.yaml" in err
    os.makedirs(site.dir + "/empty")
    assert run_weir("check", env=site.env, cwd=site.dir + "/empty")[0] == 0
    site.file("empty/weir.yaml", "git: {refs_ttl: soon}\n")
    code, out, err = run_weir("check", env=site.env, cwd=site.dir + "/empty")
    assert code == 2 and "weir.yaml:1:" in out + err      # ./weir.yaml is found by itself


def test_a_secret_is_never_a_value_in_the_file(site):
    code, said = check(site, 'git:\n  upstreams:\n    - {match: a.test, url: "https://ann:pw-in-file@a.test"}\n')
    assert code == 2 and "weir.yaml:3:" in said and "pw-in-file" not in said
    code, said = check(site, 'git:\n  upstreams:\n    - {match: a.test, url: "https://a.test", auth: bearer}\n')
    assert code == 2 and "secret_file" in said
    code, said = check(site, 'git:\n  webhook_secret_file: nothing-here\n')
    assert code == 2 and "weir.yaml:2:" in said and "webhook_secret_file" in said


# Overrides

def serve_says(site, *sets, env=None, text=None):
    """Start a daemon that cannot start, to see whom it blames."""
    path = site.file("weir.yaml", text or 'data_dir: data\ngit: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n')
    args = [a for s in sets for a in ("--set", s)]
    return run_weir("serve", "-c", path, *args, env=dict(site.env, **(env or {})), cwd=site.dir)


def test_a_wrong_override_is_blamed_on_its_origin(site):
    code, _, err = serve_says(site, "git.refs_ttl=soon")
    assert code == 2 and "git.refs_ttl" in err and "--set" in err
    code, _, err = serve_says(site, env={"WEIR_GIT_REFS_TTL": "soon"})
    assert code == 2 and "WEIR_GIT_REFS_TTL" in err
    code, _, err = serve_says(site, "git.colour=blue")
    assert code == 2 and "colour" in err
    code, _, err = serve_says(site, "git.upstreams.0.auth=magic", text='data_dir: d\ngit:\n  upstreams:\n'
                              '    - {match: a.test, url: "https://a.test"}\n')
    assert code == 2 and "git.upstreams.0.auth" in err and "passthrough" in err


def ttl_in_force(site, repo):
    """Is a listing answered from memory within the TTL?"""
    old = site.git.ls_remote(site.weirs[-1].url("org/project")).refs["refs/heads/main"]
    repo.commit("main")
    return site.git.ls_remote(site.weirs[-1].url("org/project")).refs["refs/heads/main"] == old


@pytest.mark.parametrize("in_file,env,flag,held", [("0s", None, None, False), ("0s", "5m", None, True),
                                                   ("5m", "0s", None, False), ("5m", "5m", "0s", False),
                                                   ("0s", "0s", "5m", True)])
def test_flags_override_the_environment_which_overrides_the_file(site, in_file, env, flag, held):
    repo = site.upstream.ordinary_repo("org/project")
    site.start_weir(git={"refs_ttl": in_file}, env={"WEIR_GIT_REFS_TTL": env} if env else None,
                    args=["--set", "git.refs_ttl=" + flag] if flag else [])
    assert ttl_in_force(site, repo) is held


def test_a_variable_that_names_no_key_is_a_warning(site):
    weir = site.start_weir(env={"WEIR_GIT_COLOUR": "blue"})
    assert weir.alive() and "WEIR_GIT_COLOUR" in weir.whole_log()


def test_relative_paths_start_at_the_files_folder(site):
    weir = site.new_weir()
    r = subprocess.Popen([binary(), "serve", "-c", weir.config_path], env=weir.env, cwd="/", stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    try:
        assert any(line == "ready\n" for line in r.stdout)
        assert os.path.isdir(weir.data_dir) and not os.path.exists("/data")
    finally:
        r.terminate()
        assert r.wait(20) == 0


def test_what_serve_prints_is_one_line_for_each_listener_and_ready(site):
    lines = site.weir.stdout
    assert sorted(l.split(" ")[1] for l in lines if l.startswith("listening ")) == ["admin", "git"]
    assert lines[-1] == "ready" and len(lines) == 3
    assert all(re.fullmatch(r"listening \w+ 127\.0\.0\.1:[1-9]\d*", l) for l in lines[:-1])


def test_an_occupied_port_is_an_error_that_names_it(site):
    port = site.weir.ports["git"]
    second = site.new_weir("weir-2", git={"listen": "127.0.0.1:%d" % port})
    code, out, err = run_weir("serve", "-c", second.config_path, env=second.env, cwd=second.dir)
    assert code in (1, 2) and str(port) in err and "ready" not in out


# SIGHUP

def reload(weir, **changes):
    lines = len(weir.whole_log().splitlines())
    weir.configure(changes["options"])
    weir.process.send_signal(signal.SIGHUP)
    return lambda: "\n".join(weir.whole_log().splitlines()[lines:])


def test_sighup_brings_a_new_upstream_and_a_new_ttl(site):
    repo = site.upstream.ordinary_repo("org/project")
    weir = site.weir
    assert not site.git.try_clone(weir.url("org/project", host="new.test")).ok
    options = site.options(git={"refs_ttl": "5m", "upstreams": [{"match": "git.test", "url": site.proxy.url},
                                                                {"match": "new.test", "url": site.proxy.url}]})
    reload(weir, options=options)
    wait_until(lambda: site.git.try_clone(weir.url("org/project", host="new.test")).ok, what="the new host is known")
    assert ttl_in_force(site, repo)


def test_sighup_says_what_could_not_change(site):
    weir = site.weir
    said = reload(weir, options=site.options(data_dir="elsewhere", log={"level": "info"}))
    wait_until(lambda: "data_dir" in said(), what="it names data_dir")
    assert weir.alive() and not os.path.exists(os.path.join(weir.dir, "elsewhere"))


def test_sighup_with_a_broken_file_keeps_what_was(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    said = reload(weir, options=site.options(git={"refs_ttl": "soon"}))
    wait_until(lambda: "git.refs_ttl" in said(), what="the problem is said")
    assert weir.alive() and site.git.try_clone(weir.url("org/project")).ok


def test_sighup_changes_the_log_level(site):
    weir = site.start_weir(log={"level": "error"})
    reload(weir, options=site.options(log={"level": "debug"}))
    wait_until(lambda: weir.ask("GET", "/livez").status == 200 and "debug" in weir.whole_log(), what="debug lines")


def test_json_logs_are_one_object_a_line(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir(log={"level": "debug", "format": "json"})
    site.warm("org/project")
    site.go_offline()
    site.git.clone(weir.url("org/project"))
    weir.stop()
    lines = [json.loads(l) for l in weir.whole_log().splitlines()]
    assert len(lines) > 3 and all(isinstance(l, dict) for l in lines)
    assert weir.log_has("offline_fallback") and weir.log_has("upstream_down")


# Looking and steering

def test_without_a_daemon_commands_exit_with_3(site):
    for args in (("status",), ("status", "--json"), ("repo", "ls"), ("repo", "warm", "git.test/org/project"),
                 ("repo", "verify"), ("repo", "evict", "git.test/org/project")):
        code, out, err = run_weir(*args, env=dict(site.env, WEIR_ADMIN="127.0.0.1:1"), cwd=site.dir)
        assert code == 3 and "127.0.0.1:1" in err and not out, (args, code, out, err)


def test_status_shows_upstreams_and_figures(site):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    site.warm("org/project")
    code, out, err = weir.command("status")
    assert code == 0 and "git.test" in out and "up" in out and not err
    code, out, _ = weir.command("status", "--json")
    shown, api = json.loads(out), weir.status()
    assert code == 0 and shown.keys() == api.keys()
    site.go_offline()
    assert "down" in weir.command("status")[1]


def test_admin_may_be_named_by_flag_or_configuration(site):
    weir = site.weir
    address = "127.0.0.1:%d" % weir.ports["admin"]
    code, out, _ = run_weir("status", "--admin", address, env=site.env, cwd=site.dir)
    assert code == 0 and "git.test" in out
    site.file("weir.yaml", "data_dir: x\nadmin: {listen: \"%s\"}\n" % address)
    code, out, err = run_weir("status", "-c", site.dir + "/weir.yaml", env=site.env, cwd=site.dir)
    assert code == 0 and "git.test" in out, err


def test_commands_present_the_token_of_the_configuration(site):
    token = site.file("token", "let-me-in\n")
    weir = site.start_weir(admin={"listen": "127.0.0.1:0", "token_file": token})
    path = site.file("weir.yaml", "data_dir: x\nadmin: {listen: \"127.0.0.1:%d\", token_file: %s}\n" % (
        weir.ports["admin"], token))
    assert run_weir("status", "-c", path, env=site.env)[0] == 0
    code, _, err = run_weir("status", env=dict(site.env, WEIR_ADMIN="127.0.0.1:%d" % weir.ports["admin"]), cwd=site.dir)
    assert code == 1 and "token" in err


def test_repo_ls(site):
    weir = site.weir
    assert json.loads(weir.command("repo", "ls", "--json")[1]) == []
    for name in ("org/a", "org/b"):
        site.upstream.ordinary_repo(name)
        site.warm(name)
    code, out, _ = weir.command("repo", "ls")
    assert code == 0 and "git.test/org/a" in out and "git.test/org/b" in out
    code, out, _ = weir.command("repo", "ls", "--json")
    items = json.loads(out)
    assert code == 0 and items == weir.admin("GET", "/api/v1/repos").json["items"]
    assert {i["path"] for i in items} == {"org/a", "org/b"}
    for item in items:
        assert {"host", "path", "state", "bytes", "refs", "seen_at", "servable_at", "used_at"} <= item.keys()
        assert item["state"] == "ready" and item["bytes"] > 0 and item["refs"] >= 5


def test_lists_are_cut_into_pages(site):
    for i in range(3):
        site.upstream.ordinary_repo("org/%d" % i)
        site.warm("org/%d" % i)
    got, after = [], ""
    for _ in range(10):
        page = site.weir.admin("GET", "/api/v1/repos?limit=2" + ("&after=" + after if after else "")).json
        got += [i["path"] for i in page["items"]]
        if not page["next"]:
            break
        after = page["next"]
    assert sorted(got) == ["org/0", "org/1", "org/2"]


@pytest.mark.parametrize("form", ["git.test/org/project", "https://git.test/org/project.git", "http://git.test/org/project"])
def test_repo_warm_fills_and_evict_drops(site, form):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    code, out, err = weir.command("repo", "warm", form)
    assert code == 0 and "org/project" in out, (code, out, err)
    assert weir.repo("org/project")["state"] == "ready"
    site.go_offline()
    assert site.git.try_clone(weir.url("org/project")).ok

    wait_until(lambda: weir.command("repo", "evict", form)[0] == 0, what="the sync in the background is over")
    assert weir.repo("org/project") is None
    assert not site.git.try_clone(weir.url("org/project")).ok


def test_repo_warm_of_several_tells_which_failed(site):
    site.upstream.ordinary_repo("org/project")
    code, out, err = site.weir.command("repo", "warm", "git.test/org/nothing", "git.test/org/project")
    assert code == 1 and "git.test/org/nothing" in err
    assert site.weir.repo("org/project")["state"] == "ready"
    code, out, err = site.weir.command("repo", "warm", "elsewhere.test/org/project")
    assert code == 1 and "elsewhere.test" in err


def test_repo_verify_of_one_and_of_all(site):
    for name in ("org/a", "org/b"):
        site.upstream.ordinary_repo(name)
        site.warm(name)
    code, out, _ = site.weir.command("repo", "verify")
    assert code == 0 and "org/a" in out and "org/b" in out
    assert site.weir.command("repo", "verify", "git.test/org/a")[0] == 0
    code, _, err = site.weir.command("repo", "verify", "git.test/org/nothing")
    assert code == 1 and "org/nothing" in err
    assert site.weir.command("repo", "evict", "git.test/org/nothing")[0] == 1
