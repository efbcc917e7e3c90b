"""repos -- the repositories that the figures are taken with: the same bytes on every machine, made once.

    work   a history of some thousand commits, several MB packed, some hundred refs: what a team's project looks like
    refs   a small history below ten thousand refs: what a mirror of pull requests and releases looks like

Both come from a git fast-import stream made of a seeded generator and fixed dates, so that object ids never change.
They are kept below build-bench/ (`make clean` removes it) under the hash of this file and git's version, for a second
run to start at once.
"""

import hashlib
import os
import pathlib
import random
import shutil

from actors import ENV, ROOT, Trouble, git

CACHE = ROOT / "build-bench"
FIRST_COMMIT_UNIX_S = 1600000000
WHO = "Bench <bench@weir.invalid>"
SYLLABLES = "ka lo mi ra ten sor vi pel ust an der bo qui ze fa hem ol ti gra nu".split()


class History:
    """Writes a fast-import stream: files of words, commits that each change a few lines, branches and tags."""

    def __init__(self, out, seed, files, file_bytes):
        self.out, self.random, self.mark = out, random.Random(seed), 0
        self.words = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(4000)]
        self.files = {f"part{i % 20:02}/section{i % 7}/file{i:03}.txt": self.lines(file_bytes) for i in range(files)}

    def lines(self, size):
        out = []
        while size > 0:
            out.append(self.line())
            size -= len(out[-1])
        return out

    def line(self):
        return " ".join(self.random.choices(self.words, k=10)) + "\n"

    def write(self, text):
        self.out.write(text.encode())

    def data(self, text):
        self.write(f"data {len(text)}\n{text}\n")

    def commit(self, paths):
        """Commits these files as they are now; returns the commit's mark."""
        self.mark += 1
        self.write(f"commit refs/heads/main\nmark :{self.mark}\n"
                   f"committer {WHO} {FIRST_COMMIT_UNIX_S + self.mark * 600} +0000\n")
        self.data(f"Change number {self.mark}\n\n{self.line()}")
        if self.mark > 1:
            self.write(f"from :{self.mark - 1}\n")
        for path in paths:
            self.write(f"M 644 inline {path}\n")
            self.data("".join(self.files[path]))
        self.write("\n")

    def commits(self, count):
        self.commit(self.files)
        names = sorted(self.files)
        for _ in range(count - 1):
            changed = self.random.sample(names, self.random.randint(1, 4))
            for name in changed:
                lines = self.files[name]
                lines[self.random.randrange(len(lines))] = self.line()
            self.commit(changed)

    def branch(self, name, mark):
        self.write(f"reset refs/heads/{name}\nfrom :{mark}\n\n")

    def light_tag(self, name, mark):
        self.write(f"reset refs/tags/{name}\nfrom :{mark}\n\n")

    def tag(self, name, mark):
        self.write(f"tag {name}\nfrom :{mark}\ntagger {WHO} {FIRST_COMMIT_UNIX_S + mark * 600 + 1} +0000\n")
        self.data(f"Version {name}\n")


def work(out):
    """3,000 commits, 300 refs: 60 branches, 240 tags of which half are annotated."""
    history = History(out, seed=2, files=400, file_bytes=8000)
    history.commits(3000)
    for i in range(19):
        history.branch(f"release/{i}.x", 100 + i * 150)
    for i in range(40):
        history.branch(f"topic/{i:03}-{history.words[i]}", 500 + i * 60)
    for i in range(120):
        history.tag(f"v{i // 10}.{i % 10}.0", 20 + i * 24)
        history.light_tag(f"nightly/{i:03}", 30 + i * 24)


def refs(out):
    """500 commits, 10,000 refs: 6,000 branches, 4,000 tags of which half are annotated."""
    history = History(out, seed=10, files=40, file_bytes=2000)
    history.commits(500)
    for i in range(99):
        history.branch(f"release/{i}.x", 1 + i * 5)
    for i in range(5900):
        history.branch(f"topic/{i:05}-{history.words[i % 4000]}", 1 + i % 500)
    for i in range(2000):
        history.tag(f"v{i // 100}.{i // 10 % 10}.{i % 10}", 1 + i % 500)
        history.light_tag(f"nightly/{i:04}", 1 + i % 500)


MADE_BY = {"work": work, "refs": refs}


def build(name, folder):
    git("init", "-q", "--bare", folder)
    stream = folder / "stream"
    with open(stream, "wb") as out:
        MADE_BY[name](out)
        out.write(b"done\n")
    with open(stream, "rb") as stdin:
        git("-C", folder, "fast-import", "--quiet", "--done", "--date-format=raw", stdin=stdin)
    stream.unlink()
    git("-C", folder, "symbolic-ref", "HEAD", "refs/heads/main")
    git("-C", folder, "-c", "pack.threads=1", "repack", "-q", "-a", "-d", "-f", "--write-bitmap-index")
    git("-C", folder, "pack-refs", "--all")
    git("-C", folder, "commit-graph", "write", "--reachable", "--no-progress")


def repositories(say):
    """The folder that holds work.git and refs.git; makes them when they are not there."""
    key = hashlib.sha256(pathlib.Path(__file__).read_bytes() + git("--version").encode()).hexdigest()[:12]
    done = CACHE / key
    if not done.is_dir():
        say("making the repositories (once)")
        new = CACHE / f"{key}.{os.getpid()}"
        try:
            for name in MADE_BY:
                (new / f"{name}.git").mkdir(parents=True)
                build(name, new / f"{name}.git")
            os.rename(new, done)
        except OSError as e:
            raise Trouble(f"cannot make the repositories: {e}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return done
