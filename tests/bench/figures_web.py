"""figures_web -- the hub's pages in Chromium: what they weigh, and how long until there is something to look at."""

import sys

import gauge
from actors import ROOT, Trouble
from figures import KIB, Line
from figures_hub import fresh_hub

sys.path.insert(0, str(ROOT / "tests" / "lib"))

from lab.browser import Browser  # noqa: E402 (the path comes first)
from lab.wait import wait_until  # noqa: E402

# Notes the time of the first frame that shows what the view is about, from the moment that it was asked for.
WATCH = """
const watcher = new MutationObserver(() => {
    if (!document.querySelector(%r)) return;
    watcher.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => { window.usableAt = performance.now(); }));
});
watcher.observe(document, { childList: true, subtree: true });
"""
WEIGHT = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .filter(e => !e.name.includes('/api/')).reduce((sum, e) => sum + e.transferSize, 0)"""


def pages(stage):
    """The hub's pages over 10,000 sessions (a fifth in a quick run), each time in a browser that has never seen them: from asking for
    the page to the first frame with rows, or events, in it; and what was transferred for that, data not counted."""
    sessions, events = (2000, 2000) if stage.quick else (10000, 10000)
    hub = fresh_hub(stage)
    for i in range(sessions):
        hub.create(f"product-{i % 7}")
    large = hub.create("large")
    for first in range(1, events + 1, 1000):
        hub.batch(large, first, 1000)
    browser = Browser()
    try:
        for what, view, shown in (("products", "/", "tbody tr"), ("list of sessions", "/sessions", "tbody tr"),
                                  ("one session", f"/sessions/{large}", ".event")):
            rounds = [first_view(browser, f"http://127.0.0.1:{hub.port}/#{view}", shown) for _ in range(stage.rounds + 1)][1:]
            yield Line(f"hub's page, {what}: usable after", "s", gauge.median(rounds, "seconds"), ours_at_most=1,
                       rounds={"weir": [r["seconds"] for r in rounds]})
        yield Line("hub's page: weight, compressed", "B", rounds[-1]["bytes"], ours_at_most=200 * KIB)
    except AssertionError as e:
        raise Trouble(str(e)) from None
    finally:
        browser.close()
        hub.stop()


def first_view(browser, url, shown):
    page = browser.open()
    page.add_init_script(content=WATCH % shown)
    page.goto(url)
    at = wait_until(lambda: page.evaluate("window.usableAt"), 60, "the page shows something")
    out = {"seconds": at / 1000, "bytes": page.evaluate(WEIGHT)}
    page.forget()
    return out


FIGURES = {"hub-pages": pages}
