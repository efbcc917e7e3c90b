"""repos_fetch -- the repositories that clones and fetches are measured with, made and kept as those of repos.py.

    team    10,000 commits (in a quick run 2,500) on one line, some thousand files, tens of MB packed, 40 branches and 80 tags; fully repacked,
            with a bitmap: the best that git-http-backend can be given
    large   blobs that neither compress nor resemble each other: a pack of known size
"""

import hashlib
import os
import pathlib
import random
import shutil

import repos
from actors import Trouble, git

TEAM_COMMITS = {False: 10000, True: 2500}  # by --quick
EARLY = "early"  # a tag: a commit whose files are some hundred, as most projects have
LARGE_MB = {False: 200, True: 32}  # by --quick


def team(folder, commits):
    git("init", "-q", "--bare", folder)
    stream = folder / "stream"
    with open(stream, "wb") as out:
        team_history(out, commits)
        out.write(b"done\n")
    with open(stream, "rb") as stdin:
        git("-C", folder, "fast-import", "--quiet", "--done", "--date-format=raw", stdin=stdin)
    stream.unlink()
    repack(folder, "-f")


def team_history(out, commits):
    """All but the last 400 commits can be reached from a branch or a tag. Every commit changes one or two files; every third brings a new one."""
    h = repos.History(out, seed=3, files=0, file_bytes=0)
    for i in range(300):
        h.files[f"part{i % 60:02}/file{i:04}.txt"] = h.lines(8000)
    h.commit(h.files)
    names = sorted(h.files)
    for i in range(1, commits):
        changed = h.random.sample(names, h.random.randint(1, 2))
        for name in changed:
            lines = h.files[name]
            lines[h.random.randrange(len(lines))] = h.line()
        if i % 3 == 0:
            new = f"part{i % 60:02}/file{300 + i:05}.txt"
            h.files[new] = h.lines(12000)
            names.append(new)
            changed.append(new)
        h.commit(changed)
    h.light_tag(EARLY, 100)
    for i in range(40):
        h.branch(f"topic/{i:03}", commits // 2 + i * (commits // 2 - 400) // 40)
    for i in range(80):
        h.tag(f"v{i // 10}.{i % 10}.0", 200 + i * (commits - 600) // 80)


def large(folder, megabytes):
    """So many blobs of 1 MiB of noise in one commit."""
    git("init", "-q", "--bare", folder)
    noise, stream = random.Random(megabytes), folder / "stream"
    with open(stream, "wb") as out:
        out.write(f"commit refs/heads/main\ncommitter {repos.WHO} {repos.FIRST_COMMIT_UNIX_S} +0000\n"
                  "data 6\nNoise\n\n".encode())
        for i in range(megabytes):
            out.write(f"M 644 inline noise{i:03}\ndata {1 << 20}\n".encode())
            out.write(noise.randbytes(1 << 20) + b"\n")
        out.write(b"\ndone\n")
    with open(stream, "rb") as stdin:
        git("-C", folder, "-c", "core.compression=0", "-c", "core.bigFileThreshold=512k", "fast-import", "--quiet",
            "--done", "--date-format=raw", stdin=stdin)
    stream.unlink()
    repack(folder)


def repack(folder, *how):
    git("-C", folder, "symbolic-ref", "HEAD", "refs/heads/main")
    git("-C", folder, "-c", "pack.threads=1", "repack", "-q", "-a", "-d", *how, "--write-bitmap-index")
    git("-C", folder, "pack-refs", "--all")
    git("-C", folder, "commit-graph", "write", "--reachable", "--no-progress")


def make(kind, name, how, say):
    """The folder that holds name.git; `how` makes it when it is not there."""
    sources = b"".join(pathlib.Path(module).read_bytes() for module in (__file__, repos.__file__))
    key = hashlib.sha256(sources + git("--version").encode()).hexdigest()[:12]
    done = repos.CACHE / f"{kind}-{key}"
    if not done.is_dir():
        say(f"making the repository {kind} (once)")
        new = repos.CACHE / f"{kind}-{key}.{os.getpid()}"
        try:
            (new / f"{name}.git").mkdir(parents=True)
            how(new / f"{name}.git")
            os.rename(new, done)
        except OSError as e:
            raise Trouble(f"cannot make the repository {kind}: {e}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return done


def make_team(quick, say):
    """The folder that holds team.git."""
    commits = TEAM_COMMITS[quick]
    return make(f"team{commits}", "team", lambda folder: team(folder, commits), say)


def make_large(quick, say):
    """The folder that holds large.git."""
    megabytes = LARGE_MB[quick]
    return make(f"large{megabytes}", "large", lambda folder: large(folder, megabytes), say)
