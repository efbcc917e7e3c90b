"""Fixtures and the report of a failing story."""

import faulthandler
import os
import re
import signal
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from lab.browser import Browser  # noqa: E402 (the path comes first)
from lab.cachekit import Cache  # noqa: E402
from lab.place import Site      # noqa: E402
from lab import postgres        # noqa: E402

LIMIT_S = int(os.environ.get("STORY_LIMIT", "90"))


def pytest_generate_tests(metafunc):
    """A file with BOTH_DATABASES, or a story with that mark, is told twice: on SQLite and on PostgreSQL."""
    if getattr(metafunc.module, "BOTH_DATABASES", False) or metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def database(request):
    """Where hubs keep their sessions, unless a story says otherwise."""
    kind = getattr(request, "param", "sqlite")
    if kind == "postgresql" and not postgres.programs():
        pytest.skip("there is no PostgreSQL server: apt-get install postgresql")
    return kind


@pytest.fixture
def server():
    """The PostgreSQL server of this file's stories, in good health."""
    if not postgres.programs():
        pytest.skip("there is no PostgreSQL server: apt-get install postgresql")
    yield postgres.the_server()
    postgres.the_server()


@pytest.fixture
def site(tmp_path, request, database):
    """A site of this story's own."""
    place = Site(tmp_path, database)
    request.node.place = place
    yield place
    place.finish()


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory, database):
    """One site for all stories of a file that only read, or keep to a repository of their own."""
    place = Site(tmp_path_factory.mktemp("shared"), database)
    yield place
    place.finish()


@pytest.fixture(scope="module")
def cache(shared_site):
    """A mirror before a scripted origin, for all stories of a file; each keeps to a path of its own."""
    return Cache(shared_site)


@pytest.fixture
def path(request, cache):
    """The path of one story on the file's cache, which is in good health again when the story begins."""
    cache.settle()
    return "/" + re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")


@pytest.fixture(scope="session")
def chromium():
    """One browser for all stories of a file."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browse(chromium, request):
    """Opens pages (lab/browser.py); at the end none of them may have complained about anything."""
    pages = []

    def browse(url, **options):
        pages.append(chromium.open(url, **options))
        return pages[-1]

    yield browse
    failed = getattr(request.node, "failed", False)
    faults = []
    for i, page in enumerate(pages):
        faults += page.faults()
        if failed and os.environ.get("STORY_SCREENSHOTS"):
            page.screenshot(path=os.path.join(os.environ["STORY_SCREENSHOTS"], "%s-%d.png" % (request.node.name, i)))
        page.forget()
    assert not faults, "\n".join(faults)


class TooLong(Exception):
    pass


def limited(item):
    """Run a phase of a story under the clock."""
    mark = item.get_closest_marker("limit")
    seconds = mark.args[0] if mark else LIMIT_S

    def ring(_signum, _frame):
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TooLong("%s took longer than %d s" % (item.name, seconds))

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from limited(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from limited(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from limited(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Put weir's and the upstream's logs under a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.failed = True
        place = getattr(item, "place", None) or item.funcargs.get("shared_site")
        if place:
            report.sections.extend(place.reports())
