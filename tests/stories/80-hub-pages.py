"""The hub's pages in a browser: every view, with data that a real daemon delivered, light and dark, wide and narrow."""

import re

import pytest

from lab.wait import wait_until


@pytest.fixture(scope="module")
def hub(shared_site):
    return shared_site.hub()


def url(hub, view="/"):
    return "http://127.0.0.1:%d/#%s" % (hub.ports["hub"], view)


# The serving

def test_a_page_and_what_it_loads_are_in_the_program(hub):
    page = hub.ask("GET", "/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
    assert len(assets) == 4, page.text
    for path in assets:
        plain, packed = hub.ask("GET", path), hub.ask("GET", path, None, {"Accept-Encoding": "gzip"})
        assert plain.status == packed.status == 200
        assert "immutable" in plain.headers["cache-control"]
        assert hub.ask("GET", path, None, {"If-None-Match": plain.headers["etag"]}).status == 304
    assert hub.ask("GET", "/assets/none.js").status == 404


def test_the_browser_of_these_stories_notices_what_goes_wrong(hub, chromium):
    page = chromium.open(url(hub))
    page.evaluate("""(() => {
        const script = document.createElement('script');
        script.textContent = 'window.owned = 1';
        document.body.append(script);
        document.body.setAttribute('style', 'color: red');
        setTimeout(() => { throw new Error('on purpose'); });
        const button = document.createElement('button');
        document.body.append(button);
    })()""")
    assert page.evaluate("window.owned") is None
    for wanted in ("script-src", "style-src", "on purpose"):
        wait_until(lambda: any(wanted in fault for fault in page.faults()), 20, "the fault is noticed: " + wanted)
    assert [v["id"] for v in page.axe()] == ["button-name"]
    page.forget()
