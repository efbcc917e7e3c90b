"""A browser as an actor: Debian's Chromium, driven by playwright-core from web/node_modules (web/test/driver.mjs).

    page = browser.open("http://127.0.0.1:9090/", viewport=(1280, 800), colorScheme="dark")
    page.get_by_role("link", name="Sessions").click()       # Playwright's methods, by their names in Python's spelling
    page.get_by_role("row").nth(1).inner_text()
    page.sees("No session fits")                            # waits for the text
    assert page.faults() == [] and page.axe() == []

A keyword becomes a member of the options object that Playwright's method takes last. A compiled pattern is passed on as one.
"""

import json
import os
import re
import subprocess
import threading

from .daemon import REPOSITORY
from .wait import wait_until

DRIVER = os.path.join(REPOSITORY, "web", "test", "driver.mjs")
STEPS = {"locator", "first", "last", "nth", "filter", "keyboard", "mouse"}     # and all that begins with get_by


class BrowserError(AssertionError):
    pass


def camel(name):
    return re.sub(r"_(\w)", lambda m: m.group(1).upper(), name)


def spell(value):
    if isinstance(value, re.Pattern):
        return {"$re": value.pattern, "$flags": "i" if value.flags & re.I else ""}
    return value


class Locator:
    """Steps from a page to an element; asked anew each time it is used."""

    def __init__(self, page, steps):
        self._page, self._steps = page, steps

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args, **options):
            args = [spell(a) for a in args] + ([{camel(k): spell(v) for k, v in options.items()}] if options else [])
            if name in STEPS or name.startswith("get_by"):
                return Locator(self._page, self._steps + [[camel(name), *args]])
            return self._page.ask("call", on=self._steps, name=camel(name), args=args)
        return method


class Page(Locator):
    def __init__(self, browser, name):
        super().__init__(self, [])
        self.browser, self.name = browser, name
        self.tolerated = []

    @property
    def keyboard(self):
        return Locator(self, [["keyboard"]])

    @property
    def clock(self):
        return Locator(self, [["clock"]])

    @property
    def mouse(self):
        return Locator(self, [["mouse"]])

    def ask(self, what, **more):
        return self.browser.ask(what, page=self.name, **more)

    def sees(self, text, timeout=30000):
        """Waits until the text (or pattern) can be seen."""
        self.get_by_text(text).first().wait_for(timeout=timeout)
        return self

    def button(self, name):
        return self.get_by_role("button", name=name, exact=True)

    def link(self, name):
        return self.get_by_role("link", name=name, exact=True)

    def rows(self):
        """The rows of the page's tables, as lists of their cells' texts; heads left out."""
        return self.evaluate("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText.trim()))")

    def wait_rows(self, condition, what="the table is so"):
        """The rows, when they are there and fit."""
        return wait_until(lambda: (lambda rows: rows and condition(rows) and rows)(self.rows()), 30, what)

    def tolerate(self, pattern):
        """A fault of this kind belongs to the story: the browser notes each request that got no answer."""
        self.tolerated.append(re.compile(pattern))

    def faults(self):
        return [f for f in self.ask("faults") if not any(p.search(f) for p in self.tolerated)]

    def requests(self):
        """How many it has made."""
        return self.ask("requests")

    def axe(self):
        """Serious and critical faults of accessibility."""
        return self.ask("axe")

    def forget(self):
        self.ask("close")


class Browser:
    def __init__(self):
        self.process = subprocess.Popen(["node", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lock = threading.Lock()
        self.number = 0

    def ask(self, what, **more):
        with self.lock:
            self.number += 1
            self.process.stdin.write(json.dumps({"id": self.number, "do": what, **more}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, "the browser is gone: are node, web/node_modules (tools/web-deps) and chromium there?"
        answer = json.loads(line)
        assert answer["id"] == self.number
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["result"]

    def open(self, url=None, viewport=(1280, 900), **options):
        options["viewport"] = {"width": viewport[0], "height": viewport[1]}
        page = Page(self, self.ask("open", options=options))
        if url:
            page.goto(url)
        return page

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
