"""A hundred thousand writes are waiting: weir starts at once, lists them in pages, delivers them in order, and stays
small.

Told once, as a row of acts on one site. They are put through the HTTP listener while the upstream is switched off, to a
thousand paths; each carries its number, which nginx's log tells in the order of arrival.
"""

import os
import time

import pytest

from lab.files import Nginx
from lab.wait import wait_until
from lab.writers import Writers, message

ENTRIES, PATHS, CLIENTS = 100000, 1000, 64
START_CPU_S = 2.0                   # of weir, up to `ready`: what a loaded machine takes longer for is not its fault
MOST_RESIDENT = 200 << 20
DELIVERY_S = 10                     # how long it may deliver here; it need not come to the end
FEWEST_DELIVERED = 3000             # what the slowest machine does of it

pytestmark = pytest.mark.limit(300)


class Sink(Nginx):
    """nginx that takes everything and logs its number."""

    config = (Nginx.config.replace('"$status $request"', '"$status $request $http_x_number"')
              .replace("/inbox/", "/many/"))


def is_sanitized(weir):
    """Sanitizers cost a multiple of time, which says nothing about weir."""
    with open("/proc/%d/maps" % weir.process.pid) as f:
        return any("asan" in line or "tsan" in line for line in f)


def cpu_seconds(weir):
    with open("/proc/%d/stat" % weir.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(mirror, count):
    """Queue `count` numbered writes; each path's come from one client, so that their order is known."""
    def jobs(client):
        for number in range(client, count, CLIENTS):
            path = "/many/%03d" % (number % CLIENTS + CLIENTS * (number // CLIENTS % (PATHS // CLIENTS)))
            yield number, message("PUT", path, b"content of %d" % number, "X-Number: %d\r\n" % number)
    statuses = {}

    def on_reply(reply):
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
    Writers(mirror.port, [jobs(c) for c in range(CLIENTS)], on_reply).start().join(limit=250)
    assert statuses == {202: count}, statuses


def test_a_hundred_thousand_entries(site):
    sink = Sink(os.path.join(site.dir, "sink"), site.env)
    mirror = site.mirror(sink, weir={"log": {"level": "warn"}}, preconditions="none",
                         upstream="http://127.0.0.1:%d" % sink.port)
    weir = mirror.weir
    weir.switch_upstream(False, "files")
    fill(mirror, ENTRIES)
    assert weir.outbox_count("queued") == ENTRIES

    # It starts at once.
    sink.kill()
    weir.kill9()
    began = time.monotonic()
    weir.restart()
    wall, cpu = time.monotonic() - began, cpu_seconds(weir)
    print("started in %.2f s, of which %.2f s on a processor" % (wall, cpu))
    assert cpu < START_CPU_S * (6 if is_sanitized(weir) else 1)
    assert weir.outbox_count("queued") == ENTRIES

    # It lists them in pages, in order, and finds one among them.
    page = weir.admin("GET", "/api/v1/outbox?limit=1000").json
    first = [e["id"] for e in page["items"]]
    assert len(first) == 1000 and first == sorted(first) and page["next"]
    page = weir.admin("GET", "/api/v1/outbox?limit=1000&after=" + page["next"]).json
    second = [e["id"] for e in page["items"]]
    assert len(second) == 1000 and second == sorted(second) and first[-1] < second[0]
    assert weir.entry(second[500])["id"] == second[500]
    assert len(weir.admin("GET", "/api/v1/outbox").json["items"]) < 2000     # a page, not all of them
    assert mirror.get(page["items"][7]["raw_uri"]).headers["weir-overlay"] == "queued"

    # It stays small.
    resident = weir.metric("weir_process_resident_memory_bytes")
    print("%.0f MiB resident" % (resident / 2**20))
    assert resident < MOST_RESIDENT

    # It delivers them, in order for each path.
    sink.start()
    end = time.monotonic() + DELIVERY_S
    wait_until(lambda: weir.outbox_count("applied") >= FEWEST_DELIVERED, 120, "the first deliveries")
    wait_until(lambda: weir.outbox_count("queued") == 0 or time.monotonic() > end, DELIVERY_S + 10)
    weir.stop()                                         # a queue that is not empty does not keep it from stopping
    order, arrived = {}, 0
    with open(os.path.join(sink.dir, "access.log"), encoding="latin-1") as f:
        for line in f:
            status, method, path, _, number = line.split(" ")
            if method == "PUT" and status == "204":
                order.setdefault(path, []).append(int(number))
                arrived += 1
    print("%d delivered" % arrived)
    assert arrived >= FEWEST_DELIVERED
    for path, numbers in order.items():
        assert without_repeats(numbers) == sorted(set(numbers)), path

    # Nothing is lost: what has not arrived still waits.
    weir.restart()
    assert weir.outbox_count("queued", "sending", "applied") == ENTRIES
    assert weir.outbox_count("queued", "sending") >= ENTRIES - arrived


def without_repeats(numbers):
    """One that was cut off by the stop may come twice in a row."""
    return [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n]
