"""The wall clock of one program, which a story sets while the program runs (tests/lib/wall_clock.c)."""

import os
import struct

import pytest

from .daemon import binary, sanitizer_environment


class WallClock:
    def __init__(self, directory):
        library = os.path.join(os.path.dirname(os.path.abspath(binary())), "tests", "lib", "libwall_clock.so")
        if not os.path.exists(library):
            pytest.skip("there is no %s: ninja -C %s" % (library, os.path.dirname(binary())))
        self.path = os.path.join(str(directory), "wall-clock")
        self.set(0)
        # A preloaded library is before the sanitizer's, which it minds unless told otherwise.
        options = sanitizer_environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        self.env = {"LD_PRELOAD": library, "STORY_WALL_CLOCK": self.path, "ASAN_OPTIONS": options}

    def set(self, ahead_s):
        """So many seconds ahead of the real one; below 0: behind. One write, and no truncation: it is being looked at."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, struct.pack("=q", int(ahead_s * 1000)), 0)
        os.close(fd)
