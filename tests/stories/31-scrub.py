"""A bit that flips on the disk is found without anybody asking, and the repository is fetched anew."""

import glob
import os

import pytest

from lab.gitkit import assert_same_as_direct


@pytest.mark.limit(120)
def test_a_flipped_bit_is_found_soon_after_a_start_and_heals(site):
    site.upstream.ordinary_repo("org/project").bulk(50)
    site.warm("org/project")
    site.weir.stop()
    packs = glob.glob(os.path.join(site.weir.data_dir, "git", "repos", "*", "git", "objects", "pack", "*.pack"))
    largest = max(packs, key=os.path.getsize)
    os.chmod(largest, 0o600)
    with open(largest, "r+b") as pack:
        pack.seek(os.path.getsize(largest) // 2)
        byte = pack.read(1)
        pack.seek(-1, os.SEEK_CUR)
        pack.write(bytes([byte[0] ^ 1]))
    site.weir.restart()
    site.weir.wait_log("pack_damaged", limit=60)
    site.weir.wait_log("repo_quarantined", limit=60)
    assert site.weir.metric("weir_git_quarantined_total") == 1
    clone = site.git.clone(site.weir.url("org/project"), "--mirror")
    assert_same_as_direct(clone, site.git.clone(site.upstream.url("org/project"), "--mirror"))
