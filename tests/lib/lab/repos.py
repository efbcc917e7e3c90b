"""Bare repositories at the upstream: made and changed by git's own plumbing, in as few processes as possible."""

import os
import random
import subprocess

PERSON = "A Person <person@example.com>"
START = 1700000000                  # the first commit's time; each later one is a minute younger


class BareRepo:
    """A bare repository that the upstream serves. `name` is its path there, without `.git`."""

    def __init__(self, path, name, env, object_format="sha1", head="refs/heads/main"):
        self.path = path
        self.name = name
        self.env = env
        self.clock = START
        os.makedirs(path)
        self.git("init", "-q", "--bare", "--object-format=" + object_format, ".")
        with open(os.path.join(path, "config"), "a") as f:
            f.write("[http]\n\treceivepack = true\n"
                    "[uploadpack]\n\tallowFilter = true\n\tallowReachableSHA1InWant = true\n"
                    "[receive]\n\tautogc = false\n\tdenyDeleteCurrent = ignore\n[gc]\n\tauto = 0\n")
        self.set_head(head)

    def git(self, *args, stdin=None, check=True):
        r = subprocess.run(["git", "-C", self.path, *args], input=stdin, env=self.env, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=60)
        if check and r.returncode != 0:
            raise AssertionError("upstream: git %s: %s" % (" ".join(args), r.stderr.decode("utf-8", "replace")))
        return r.stdout.decode("utf-8", "replace").strip()

    # Growing

    def commit(self, branch="main", files=None, message="change", parent="", count=1):
        """Add `count` commits to a branch (made if need be); returns the newest one's id. files: {path: str|bytes}.
        parent: a commit to start from, which turns this into a force push when the branch is elsewhere."""
        ref = branch if branch.startswith("refs/") else "refs/heads/" + branch
        start = parent or self.git("rev-parse", "-q", "--verify", ref, check=False)
        out = []
        for i in range(count):
            self.clock += 60
            content = files or {"file-%s.txt" % branch.replace("/", "-"): "%s %d\n" % (message, self.clock)}
            out.append(b"commit %s\n" % ref.encode())
            out.append(b"committer %s %d +0000\n" % (PERSON.encode(), self.clock))
            text = ("%s %d\n" % (message, i)).encode()
            out.append(b"data %d\n%s" % (len(text), text))
            if i == 0 and start:
                out.append(b"from %s\n" % start.encode())
            for path, data in content.items():
                if isinstance(data, str):
                    data = data.encode()
                out.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
            out.append(b"\n")
        if parent:
            out.insert(0, b"reset %s\nfrom %s\n\n" % (ref.encode(), parent.encode()))
        self.git("fast-import", "--quiet", "--force", stdin=b"".join(out))
        return self.git("rev-parse", ref)

    def bulk(self, kib, branch="main", seed=1):
        """A commit with a file that does not compress, for packs of a known size."""
        data = random.Random(seed).randbytes(kib * 1024)
        return self.commit(branch, {"bulk-%d.bin" % seed: data}, "bulk")

    def ref(self, ref, to="refs/heads/main"):
        """Create or move a ref, by force."""
        self.git("update-ref", ref, to)

    def many_refs(self, count, prefix="refs/heads/many/", to="refs/heads/main"):
        oid = self.git("rev-parse", to)
        lines = "".join("update %s%05d %s\n" % (prefix, i, oid) for i in range(count))
        self.git("update-ref", "--stdin", stdin=lines.encode())
        self.git("pack-refs", "--all")

    def delete(self, ref):
        self.git("update-ref", "-d", ref)

    def tag(self, name, to="refs/heads/main"):
        """An annotated tag, so that listings have something to peel."""
        self.git("tag", "-f", "-a", "-m", "release " + name, name, to)

    def note(self, on="refs/heads/main", text="a note"):
        self.git("notes", "add", "-f", "-m", text, on)

    def submodule(self, name, url, commit):
        """Record a submodule on main, as `git submodule add` would."""
        modules = '[submodule "%s"]\n\tpath = %s\n\turl = %s\n' % (name, name, url)
        self.commit("main", {".gitmodules": modules}, "with a submodule")
        tip = self.git("rev-parse", "refs/heads/main")
        tree = self.git("ls-tree", tip) + "\n160000 commit %s\t%s\n" % (commit, name)
        new = self.git("mktree", "--missing", stdin=tree.encode())
        self.ref("refs/heads/main", self.git("commit-tree", "-p", tip, "-m", "submodule", new))

    def set_head(self, ref):
        self.git("symbolic-ref", "HEAD", ref)

    def detach_head(self, to="refs/heads/main"):
        oid = self.git("rev-parse", to)
        with open(os.path.join(self.path, "HEAD"), "w") as f:
            f.write(oid + "\n")

    # Looking

    def rev(self, name="refs/heads/main"):
        return self.git("rev-parse", name)

    def refs(self):
        """{ref: id} of all refs."""
        out = self.git("for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ") for line in out.splitlines())

    def object_count(self):
        """How many objects the refs reach: what one complete transfer holds."""
        return len(self.git("rev-list", "--objects", "--all").splitlines())


def ordinary(repo):
    """A small repository with a bit of everything: history, two branches, tags of both kinds, a note, a pull request."""
    repo.commit("main", {"README": "hello\n", "src/a.c": "int a;\n", "src/b.c": "int b;\n"}, "first")
    repo.commit("main", count=5)
    repo.commit("topic/one", parent=repo.rev(), count=2)
    repo.tag("v1.0")
    repo.ref("refs/tags/light")
    repo.note()
    repo.commit("refs/pull/1/head", parent=repo.rev(), message="pull request")
    repo.commit("main", count=2)
    repo.git("pack-refs", "--all")
    return repo
