"""The daemon's dashboard in a browser: what an operator sees at a glance and what he does, with real upstreams."""

import json
import os
import re
import threading

import pytest

from lab.sessions import DAEMON, Program
from lab.wait import wait_until

PLAN = "# Plan\n\n- one\n- two\n- three\n\nOwner: nobody\n"
OURS = PLAN.replace("two", "two, by us").replace("nobody", "the site")
THEIRS = PLAN.replace("three", "three\n- four, by headquarters")
SCRIPT = "<script>owned=1</script>"

# The ways at the top that cannot be seen.
CUT_OFF = """[...document.querySelectorAll('.top nav a')].filter(a => {
    const box = a.getBoundingClientRect();
    return a.scrollWidth > a.clientWidth || !a.contains(document.elementFromPoint(box.right - 6, box.top + box.height / 2));
}).map(a => a.innerText)"""

WIDE, NARROW = (1280, 900), (390, 844)


def url(weir, view="/"):
    return "http://127.0.0.1:%d/#%s" % (weir.ports["admin"], view)


def full(site, **weir):
    """A daemon with everything: git, a mirror before lighttpd, sessions before a hub."""
    hub = site.hub()
    server = "http://127.0.0.1:%d" % hub.ports["hub"]
    return site.mirror("lighttpd", weir=dict({"git": {}, "sessions": dict(DAEMON, server=server)}, **weir))


def in_conflict(mirror, path="/plan.md"):
    mirror.server.write(path, PLAN, mtime=1600000000)
    mirror.get(path)
    mirror.go_offline()
    entry = mirror.queue("PUT", path, OURS, content_type="text/markdown", x_author="anna")
    mirror.server.write(path, THEIRS, mtime=1700000000)
    mirror.come_back()
    mirror.weir.wait_entry(entry, "conflict")
    return entry


def agree(page, action, sees):
    """The question is answered with yes, and the page says that it was done."""
    page.get_by_role("dialog").get_by_role("button", name=action, exact=True).click()
    page.locator(".said").get_by_text(sees).first().wait_for()
    page.get_by_role("dialog").wait_for(state="detached")


def row(page, *words):
    """The one row of a table that has all these words, as its cells' texts; or None."""
    found = [r for r in page.rows() if all(any(w in cell for cell in r) for w in words)]
    return found[0] if len(found) == 1 else None


def is_untouched(page):
    return page.evaluate("window.owned") is None


# Looking

@pytest.fixture(scope="module")
def stage(shared_site):
    """A daemon with some of everything, hostile names among it."""
    site = shared_site
    site.upstream.ordinary_repo("org/project").bulk(200)
    site.upstream.ordinary_repo("org/" + SCRIPT)
    mirror = full(site)
    mirror.entry = in_conflict(mirror)
    for name in ("org/project", "org/%3Cscript%3Eowned=1%3C%2Fscript%3E"):
        site.git.run("ls-remote", mirror.weir.url(name), check=False)
    site.git.clone(mirror.weir.url("org/project"))
    mirror.weir.wait_filled("org/project")
    mirror.put("/done.txt", "straight through")
    mirror.programs = [Program(mirror.weir.ports["sessions"], product=p, version="1", pid=os.getpid())
                       for p in ("game", SCRIPT)]
    mirror.go_offline()
    for i in range(3):
        mirror.queue("PUT", "/notes/%d.txt" % i, "note %d\n" % i)
    mirror.hostile = mirror.queue("PUT", "/notes/" + SCRIPT, SCRIPT, x_note=SCRIPT)
    return mirror


VIEWS = {"/": "Overview", "/repositories": "Repositories", "/mirrors": "Mirrors", "/outbox": "Outbox",
         "/outbox?state=conflict": "Outbox", "/sessions": "Sessions held"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_each_view_is_whole_and_for_everybody(stage, browse, theme, size):
    page = browse(url(stage.weir), viewport=size, colorScheme=theme)
    page.tolerate("status of 503")                                     # the upstream of the conflict is away
    for view, title in [*VIEWS.items(), ("/outbox/" + stage.entry, "PUT /plan.md")]:
        page.goto(url(stage.weir, view))
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        page.locator("main .panel").first().wait_for()
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "%s is wider than the window" % view
        assert page.evaluate(CUT_OFF) == [], view
        assert page.axe() == [], view
    assert is_untouched(page)


def test_the_overview_answers_at_a_glance(stage, browse):
    page = browse(url(stage.weir))
    page.sees("Services, last hour")
    tiles = {t.split("\n")[0]: t.split("\n")[1:] for t in page.locator(".tile").all_inner_texts()}
    assert tiles["Upstreams"][0] == "2 of 3" and "1 down" in tiles["Upstreams"]
    assert tiles["Waiting to be sent"][0] == "4" and tiles["Stuck"][0] == "1"
    assert int(tiles["Requests"][0]) > 5 and tiles["Live sessions"][0] == "2"
    trouble = page.locator(".troubles").inner_text()
    assert "files does not answer" in trouble and "1 write met another version" in trouble
    assert row(page, "Up", "git.test") and row(page, "Down", "files") and row(page, "Up", "sessions", "http://")
    down = row(page, "Down", "files")
    assert "refused" in down[4] and ("ago" in down[3] or "now" in down[3])
    for service in ("git", "files", "sessions"):
        card = page.get_by_role("article", name="%s, last hour" % service)
        assert "Requests" in card.inner_text() and card.locator("canvas").count() == 2
    assert "Hit rate" in page.get_by_role("article", name="git, last hour").inner_text()
    assert "Hit rate" not in page.get_by_role("article", name="sessions, last hour").inner_text()
    assert re.search(r"of 50.0 GiB", page.get_by_role("table", name="Disk budgets").inner_text())
    page.locator(".troubles").get_by_role("link", name="Show").click()
    page.wait_rows(lambda rows: len(rows) == 1 and "PUT /plan.md" in rows[0][0])


def test_the_hour_agrees_with_the_counters(stage):
    weir = stage.weir
    before = weir.admin("GET", "/api/v1/history").json
    stage.get("/plan.md")
    stage.programs[0].event("looked")
    hour = weir.admin("GET", "/api/v1/history").json
    sums = {s["name"]: s["sum"] for s in hour["services"]}
    metric = weir.metric
    assert sums["git"]["requests"] == sum(metric("weir_git_requests_total", status=s) for s in ("ok", "error")) > 3
    assert sums["git"]["hits"] == metric("weir_git_cache_hits_total")
    assert sums["git"]["misses"] == metric("weir_git_cache_misses_total") > 0
    assert sums["files"]["requests"] == metric("weir_mirror_requests_total", service="files") > 5
    assert sums["files"]["offline"] == metric("weir_offline_fallbacks_total", service="files")
    assert sums["sessions"]["requests"] == metric("weir_http_request_duration_seconds_count", listener="sessions") > 2
    for name, column in (("files", "requests"), ("sessions", "requests")):
        was = next(s for s in before["services"] if s["name"] == name)
        assert sums[name][column] == was["sum"][column] + 1
    for s in hour["services"]:
        assert len(s["requests"]) == len(s["p99_ms"]) == len(hour["t"]) == len(hour["seconds"])
        assert sum(s["requests"]) == s["sum"]["requests"] and 0 < s["sum"]["p50_ms"] <= s["sum"]["p99_ms"]


def test_what_was_served_in_an_outage_and_how_much_of_it_was_old(site, browse):
    site.upstream.ordinary_repo("org/project")
    weir = site.start_weir("daemon", git={"stale_after": "1s", "upstreams": [{"match": "git.test", "url": site.proxy.url}]})
    site.git.clone(weir.url("org/project"), "--mirror")
    weir.wait_filled("org/project")
    site.proxy.refuse()
    wait_until(lambda: weir.metric("weir_stale_serves_total", service="git") or not weir.ask_ls_refs("org/project"), 60, "it is old")
    page = browse(url(weir))
    card = page.get_by_role("article", name="git, last hour")
    card.wait_for()
    shown = dict(t.split("\n") for t in card.locator("dl > div").all_inner_texts())
    assert shown["Stale"] == str(int(weir.metric("weir_stale_serves_total", service="git"))) != "0"
    assert shown["Offline"] == str(int(weir.metric("weir_offline_fallbacks_total", service="git"))) != "0"


def test_hostile_names_are_texts(stage, browse):
    page = browse(url(stage.weir, "/outbox"))
    page.wait_rows(lambda rows: any("PUT /notes/" + SCRIPT in r[0] for r in rows))
    page.get_by_role("link", name="PUT /notes/" + SCRIPT).click()
    page.get_by_role("heading", name="PUT /notes/" + SCRIPT, exact=True).wait_for()
    page.wait_rows(lambda rows: ["X-Note", SCRIPT] in rows)
    assert page.locator("pre.content").inner_text() == SCRIPT
    page.goto(url(stage.weir, "/sessions"))
    page.wait_rows(lambda rows: any(r[0].startswith(SCRIPT) for r in rows))
    hub = stage.weir.upstream("sessions")["url"] + "/#/sessions/"
    assert all(a.startswith(hub) for a in page.evaluate("[...document.querySelectorAll('td a')].map(a => a.href)"))
    page.goto(url(stage.weir, "/outbox?state=%3Cscript%3E&service=" + SCRIPT))
    page.get_by_role("alert").get_by_text("accepted: queued").wait_for()
    page.tolerate("status of 400")
    page.goto(url(stage.weir, "/outbox/%s" % SCRIPT.replace("/", "%2F")))
    page.get_by_role("alert").get_by_text("no entry has the id").wait_for()
    page.tolerate("status of 404")
    assert is_untouched(page)


def test_the_outbox_has_states_and_a_search(stage, browse):
    page = browse(url(stage.weir, "/outbox"))
    page.wait_rows(lambda rows: len(rows) == 4)
    tabs = page.get_by_role("navigation", name="States")
    assert tabs.get_by_role("link", name="Queued4").get_attribute("aria-current") == "page"
    tabs.get_by_role("link", name="Conflict1").click()
    page.wait_rows(lambda rows: len(rows) == 1)
    tabs.get_by_role("link", name="All").click()
    page.wait_rows(lambda rows: len(rows) == 5 and {r[1] for r in rows} == {"Queued", "Conflict"})
    assert SCRIPT in page.rows()[0][0]                                 # the newest first
    search = page.get_by_label("Search in address, id, error")
    search.fill("NOTES/1")
    page.wait_rows(lambda rows: len(rows) == 1 and "PUT /notes/1.txt" in rows[0][0])
    assert "text=NOTES" in page.evaluate("location.hash")              # a link keeps it
    page.get_by_role("link", name="PUT /notes/1.txt").click()
    page.get_by_role("heading", name="PUT /notes/1.txt", level=1).wait_for()
    page.link("‹ Outbox").click()                                      # and so does the way back
    page.wait_rows(lambda rows: len(rows) == 1 and "PUT /notes/1.txt" in rows[0][0])
    search.fill("changed upstream")                                    # of the error
    page.wait_rows(lambda rows: len(rows) == 1 and "/plan.md" in rows[0][0])
    search.fill("nowhere")
    page.sees("No entry fits")
    search.fill("")
    page.get_by_label("Service").select_option("sessions")
    page.sees("There are none")


def test_what_is_not_there_is_not_shown(site, browse):
    page = browse(url(site.weir))                                      # git alone
    page.sees("Services, last hour")
    ways = page.get_by_role("navigation", name="Views").all_inner_texts()[0].split()
    assert ways == ["Overview", "Repositories"]
    assert page.get_by_text("Waiting to be sent").count() == 0
    page.get_by_role("img", name=re.compile("git over the last 5 min, by")).wait_for()      # not an hour that it has not lived
    page = browse(url(site.hub()))                                     # a service that the dashboard has no view for
    page.get_by_role("heading", name="hub", exact=True, level=2).wait_for()
    page.get_by_role("article", name="hub, last hour").wait_for()
    assert page.axe() == []


def test_the_theme_stays(stage, browse):
    page = browse(url(stage.weir), colorScheme="light")
    page.button(re.compile("Theme: auto")).click()
    page.button(re.compile("Theme: light")).click()
    page.button(re.compile("Theme: dark")).wait_for()
    page.reload()
    page.sees("Services, last hour")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


# Doing

@pytest.mark.parametrize("keep", ["ours", "theirs"])
def test_a_conflict_is_resolved_from_end_to_end(site, browse, keep):
    mirror = full(site)
    entry = in_conflict(mirror)
    page = browse(url(mirror.weir))
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Outbox 1 need you").click()
    page.get_by_role("navigation", name="States").get_by_role("link", name="Conflict1").click()
    page.get_by_role("link", name="PUT /plan.md").click()
    page.get_by_role("region", name="Theirs").get_by_text("four, by headquarters").wait_for()
    assert page.get_by_role("region", name="Ours").locator("pre").inner_text() == OURS
    assert page.get_by_role("region", name="Theirs").locator("pre").inner_text() == THEIRS
    assert page.locator(".diff .minus").all_text_contents() == ["-theirs: - two", "-theirs: - four, by headquarters",
                                                                "-theirs: Owner: nobody"]
    assert page.locator(".diff .plus").all_text_contents() == ["+ours: - two, by us", "+ours: Owner: the site"]
    page.wait_rows(lambda rows: ["X-Author", "anna"] in rows)

    page.button("Keep " + keep).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert mirror.weir.entry(entry)["state"] == "conflict"             # who thinks again has done nothing
    page.button("Keep " + keep).click()
    agree(page, "Keep " + keep, "is kept")
    state = "applied" if keep == "ours" else "resolved"
    page.locator(".head .badge").get_by_text(state.capitalize()).wait_for()
    assert mirror.weir.entry(entry)["state"] == state
    assert mirror.server.text("/plan.md") == (OURS if keep == "ours" else THEIRS)
    assert mirror.get("/plan.md").text == (OURS if keep == "ours" else THEIRS)
    assert page.get_by_role("button", name=re.compile("Keep")).count() == 0
    assert mirror.weir.log_has("outbox_operator", "resolve_" + keep)


def test_a_conflict_while_upstream_is_away_says_so(site, browse):
    mirror = full(site)
    entry = in_conflict(mirror)
    mirror.go_offline()
    page = browse(url(mirror.weir, "/outbox/" + entry))
    page.tolerate("status of 503")
    page.get_by_role("region", name="Theirs").get_by_text("gave no answer").wait_for()
    page.button("Keep ours").click()
    agree(page, "Keep ours", "is as before")
    assert mirror.weir.entry(entry)["state"] == "conflict"
    mirror.come_back()
    page.button("Ask upstream again").click()
    page.get_by_role("region", name="Theirs").get_by_text("four, by headquarters").wait_for()


def test_an_entry_is_dropped_and_another_sent_again(site, browse):
    mirror = full(site)
    mirror.door.answer(403, body=b"<b>not you</b>", match="PUT")
    mirror.go_offline()
    first, second = (mirror.queue("PUT", "/%s.txt" % name, name) for name in ("first", "second"))
    mirror.server.start()
    mirror.door.pass_all()
    mirror.door.answer(403, [("Content-Type", "text/html")], b"<b>not you</b>", match="PUT")
    for entry in (first, second):
        mirror.weir.wait_entry(entry, "held")
    page = browse(url(mirror.weir, "/outbox/" + first))
    page.get_by_role("region", name="What upstream answered").get_by_text("<b>not you</b>").wait_for()
    page.button("Drop").click()
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")                                      # the way out by keyboard
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.evaluate("document.activeElement.innerText") == "Drop"
    page.button("Drop").click()
    agree(page, "Drop", "was dropped")
    page.locator(".head .badge").get_by_text("Dropped").wait_for()
    mirror.door.pass_all()
    page.goto(url(mirror.weir, "/outbox/" + second))
    page.button("Send again").click()
    page.locator(".head .badge").get_by_text("Applied").wait_for()
    assert mirror.server.text("/second.txt") == "second" and mirror.server.text("/first.txt") is None


class Clones(threading.Thread):
    """git clones a repository again and again until told to stop; each result is kept."""

    def __init__(self, site, target):
        super().__init__(daemon=True)
        self.site, self.target = site, target
        self.results, self.over = [], False

    def run(self):
        while not self.over:
            self.results.append(self.site.git.try_clone(self.target))

    def wait_more(self, count=2):
        begin = len(self.results) + 1           # the one under way may have begun before
        wait_until(lambda: len(self.results) >= begin + count, 60, "clones go on")
        return self.results[begin:]

    def stop(self):
        self.over = True
        self.join(60)


def test_an_upstream_is_switched_off_and_on_while_clones_run(site, browse):
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    weir = site.weir
    page = browse(url(weir))
    page.wait_rows(lambda rows: row(page, "git.test", "Up"))
    clones = Clones(site, weir.url("org/project"))
    clones.start()
    try:
        clones.wait_more()
        page.button("Switch off git.test").click()
        agree(page, "Switch off", "is switched off")
        page.wait_rows(lambda rows: row(page, "git.test", "Switched off"))
        page.locator(".troubles").get_by_text("git.test is switched off").wait_for()
        assert weir.upstream()["state"] == "disabled"
        clones.wait_more(1)                     # who was on the way has arrived
        site.proxy.forget()
        offline = weir.metric("weir_offline_fallbacks_total", service="git")
        assert all(r.ok for r in clones.wait_more(3))
        assert site.proxy.seen() == []          # not even a probe
        assert weir.metric("weir_offline_fallbacks_total", service="git") > offline
        page.get_by_role("article", name="git, last hour").get_by_text(re.compile("^[1-9]")).first().wait_for()
        page.button("Switch on git.test").click()
        page.locator(".said").get_by_text("is switched on").wait_for()
        page.wait_rows(lambda rows: row(page, "git.test", "Up"))
        site.proxy.forget()
        assert all(r.ok for r in clones.wait_more())
        assert site.proxy.seen()
    finally:
        clones.stop()
    assert len(clones.results) > 5 and all(r.ok for r in clones.results), clones.results
    page.sees("Nothing. All is as it should be.")


def test_all_of_it_by_keyboard(site, browse):
    page = browse(url(site.weir))
    page.sees("Services, last hour")
    press = page.keyboard.press

    def focus():
        return page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText")

    press("Tab")
    assert focus() == "Skip to content"
    press("Enter")
    press("Tab")
    assert focus() == "Switch off git.test"                            # the ways at the top were skipped
    press("Enter")
    page.get_by_role("dialog", name="Switch off git.test?").wait_for()
    for _ in range(3):
        if focus() != "Switch off":
            press("Tab")
    assert focus() == "Switch off"
    press("Enter")
    page.wait_rows(lambda rows: row(page, "git.test", "Switched off"))
    assert site.weir.upstream()["state"] == "disabled"
    assert focus() == "Switch on git.test"                             # where it was
    press("Enter")
    wait_until(lambda: site.weir.upstream()["enabled"], 20, "it is on again")


def test_a_repository_is_warmed_verified_and_evicted(site, browse):
    site.upstream.ordinary_repo("org/project").bulk(100)
    weir = site.weir
    page = browse(url(weir, "/repositories"))
    page.sees("No repository is cached yet")
    page.get_by_label("Fill another").fill("nowhere.example/org/project")
    page.button("Warm").click()
    page.locator(".said .bad").get_by_text("nowhere.example").wait_for()          # why not
    page.get_by_label("Fill another").fill("git.test/org/project")
    page.button("Warm").click()
    page.locator(".said").get_by_text("git.test/org/project is being filled").wait_for()
    weir.wait_filled("org/project")
    page.wait_rows(lambda rows: row(page, "git.test/org/project", "Ready"))
    page.button("Verify git.test/org/project").click()
    page.locator(".said").get_by_text("is whole").wait_for()
    assert weir.log_has("repo_verified") or weir.repo("org/project")["state"] == "ready"
    page.wait_rows(lambda rows: "KiB" in rows[0][2])
    page.button("Evict git.test/org/project").click()
    agree(page, "Evict", "was evicted")
    page.sees("No repository is cached yet")
    assert weir.repo("org/project") is None
    page.tolerate("status of 400")


def test_repositories_are_sorted_and_searched(site, browse):
    for i, name in enumerate(("a/small", "b/large", "c/other")):
        site.upstream.ordinary_repo(name).bulk([10, 300, 50][i])
    site.warm("a/small", "b/large", "c/other")
    page = browse(url(site.weir, "/repositories"))

    def names():
        return [r[0].split("/", 1)[1] for r in page.rows()]

    wait_until(lambda: names() == ["c/other", "b/large", "a/small"], 20, "the last used first")
    page.button("Size").click()
    wait_until(lambda: names() == ["b/large", "c/other", "a/small"], 20, "the largest first")
    page.button("Size").click()
    wait_until(lambda: names() == ["a/small", "c/other", "b/large"], 20, "the smallest first")
    page.get_by_label("Search").fill("LARGE")
    wait_until(lambda: names() == ["b/large"], 20, "the one that fits")


# Who may

def test_the_page_asks_for_the_token_and_keeps_it_for_the_tab(site, browse):
    token = site.file("token", "let-me-in\n")
    weir = site.start_weir(admin={"token_file": token})
    page = browse(url(weir))
    page.tolerate("status of 401")
    page.get_by_role("dialog", name="The daemon asks for a key").wait_for()
    assert page.axe() == []
    assert page.rows() == []                                           # nothing without it
    page.get_by_role("textbox", name="Key").fill("guess")
    page.button("Continue").click()
    page.sees("That key was not accepted")
    page.get_by_role("textbox", name="Key").fill("let-me-in")
    page.button("Continue").click()
    page.sees("Services, last hour")
    page.reload()
    page.sees("Services, last hour")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.button("Switch off git.test").click()
    agree(page, "Switch off", "is switched off")
    other = browse(url(weir))                                          # another tab does not have it
    other.tolerate("status of 401")
    other.get_by_role("dialog", name="The daemon asks for a key").wait_for()


def test_a_page_of_somebody_else_does_nothing_here(stage, browse):
    stage.server.start()
    stage.door.pass_all()
    stage.server.write("/evil.html", "<title>evil</title>")
    page = browse("http://127.0.0.1:%d/evil.html" % stage.server.port)
    page.tolerate("CORS|ERR_FAILED|status of 403|favicon.ico")
    target = "http://127.0.0.1:%d/api/v1/" % stage.weir.ports["admin"]
    ask = """(async ([target, method, mode, body]) => {
        try { return (await fetch(target, {method, mode, body})).status; } catch (e) { return String(e); }
    })(%s)"""
    seen = stage.door.count("/plan.md")
    for what in ((target + "outbox/%s" % stage.entry, "DELETE", "cors", None),
                 (target + "outbox/%s/theirs" % stage.entry, "GET", "no-cors", None),
                 (target + "outbox/%s/retry" % stage.entry, "POST", "no-cors", "{}"),
                 (target + "upstreams/git.test", "PUT", "cors", '{"enabled": false}'),
                 (target + "outbox/flush", "POST", "no-cors", "{}"),
                 (target + "status", "GET", "cors", None)):
        answer = page.evaluate(ask % json.dumps(what))
        assert answer != 200, what
    assert stage.weir.entry(stage.entry)["state"] == "conflict" and stage.weir.upstream()["enabled"]
    assert not stage.weir.log_has("outbox_operator")
    assert stage.door.count("/plan.md") == seen                        # nor is the upstream asked for it


@pytest.mark.parametrize("method,path,status", [("GET", "/assets/none.js", 404), ("DELETE", "/", 405)])
def test_what_the_page_does_not_have_is_refused_as_all_of_admin_refuses(site, method, path, status):
    answer = site.weir.ask(method, path, service="admin")
    assert answer.status == status and answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == status


# The daemon is away

def test_a_daemon_that_goes_is_noticed_and_caught_up_with(site, browse):
    site.upstream.ordinary_repo("org/project")
    weir = site.weir
    page = browse(url(weir, "/repositories"))
    page.tolerate("ERR_CONNECTION|ERR_EMPTY|Failed to fetch")
    page.sees("No repository is cached yet")
    weir.kill9()
    page.get_by_role("status").get_by_text("The daemon does not answer").wait_for()
    weir.restart()
    site.warm("org/project")
    page.wait_rows(lambda rows: row(page, "org/project"))
    page.get_by_text("The daemon does not answer").wait_for(state="detached")
