"""Two hundred clients write, each once in a turn of the weather, which changes every second: every promise is kept.

The oracle: each write is numbered. What a client was told (2xx) is compared with what the upstream did: every
acknowledged PUT has arrived, in the order in which its client wrote, and is the last word; every acknowledged POST has
been done exactly once, or is held because nobody can know, and none was ever done twice. And what a client reads is
what it wrote last, or an error, never anything older.
"""

import collections
import itertools
import threading

import pytest

from lab.origin import Origin
from lab.wait import wait_until
from lab.writers import Writers, message

PUTTERS, POSTERS = 150, 50
TURNS = 10                          # of the weather
TURN_S = 1.0
ACKNOWLEDGED = (200, 201, 202, 204)
UNAVAILABLE = (500, 502, 503, 504)

pytestmark = pytest.mark.limit(180)


class Diary:
    """What the clients were told."""

    def __init__(self):
        self.told = collections.defaultdict(list)       # path -> [(number, status)] in the order of writing
        self.trouble = []
        self.read = 0
        self.turn = 0

    def putter(self, who):
        """Writes numbers to a path of its own, and looks at each at once."""
        path = "/put/%d" % who
        for number in itertools.count():
            while number > self.turn:
                yield None
            body = b"%d" % number
            reply = yield (path, number), message("PUT", path, body)
            self.told[path].append((number, reply.status))
            if reply.status not in ACKNOWLEDGED:
                self.trouble.append("PUT %s: %r" % (path, reply))
                continue
            reply = yield (path, number), message("GET", path)
            self.read += reply.status == 200
            if reply.body != body if reply.status == 200 else reply.status not in UNAVAILABLE:
                self.trouble.append("GET %s after %d was written: %r" % (path, number, reply))

    def poster(self, who):
        """Orders, each under a number of its own, to one of ten paths."""
        path = "/orders/%d" % (who % 10)
        for i in itertools.count():
            while i > self.turn:
                yield None
            number = "%d-%d" % (who, i)
            reply = yield (path, number), message("POST", path, number.encode())
            self.told[path].append((number, reply.status))
            if reply.status not in ACKNOWLEDGED + UNAVAILABLE:      # unavailable: who knows; the client was told so
                self.trouble.append("POST %s: %r" % (path, reply))


WEATHER = [
    lambda mirror: mirror.door.pass_all(),
    lambda mirror: mirror.door.lose_answer(times=40),
    lambda mirror: mirror.door.refuse(),
    lambda mirror: mirror.door.pass_all(),
    lambda mirror: mirror.door.cut_upload(after=1),
    lambda mirror: mirror.door.pass_all(),
    lambda mirror: mirror.door.answer(503),
    lambda mirror: mirror.door.pass_all(),
    lambda mirror: mirror.door.black_hole(),
    lambda mirror: mirror.door.cut(after=0),
]


def flap(mirror, diary, turns):
    clock = threading.Event()
    for _ in range(turns):
        WEATHER[diary.turn % len(WEATHER)](mirror)
        clock.wait(TURN_S)              # the weather's own time, not a wait for anything
        diary.turn += 1                 # each client may write once more


def without_repeats(items):
    return [x for i, x in enumerate(items) if i == 0 or items[i - 1] != x]


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed on the way"])
def test_every_promise_is_kept_while_the_upstream_flaps(site, killed):
    origin = Origin()
    mirror = site.mirror(origin, weir={"log": {"level": "info"}, "links": {"stall_timeout": "2s"}})
    weir, diary = mirror.weir, Diary()
    jobs = [diary.putter(i) for i in range(PUTTERS)] + [diary.poster(i) for i in range(POSTERS)]
    writers = Writers(mirror.port, jobs).start()
    flap(mirror, diary, 5 if killed else TURNS)
    if killed:                          # the clients that wait for an answer get none, and go on when it is back
        mirror.crash()
        flap(mirror, diary, 5)
    writers.stop()
    mirror.door.pass_all()
    weir.wait_upstream("up", "files")

    held = settled(weir)
    if not killed:
        assert not diary.trouble, (len(diary.trouble), diary.trouble[:5])
    done = collections.defaultdict(list)
    for method, path, body, _ in origin.changes:
        done[path].append(body.decode())
    told = sum(len(t) for t in diary.told.values())
    queued = sum(status == 202 for t in diary.told.values() for _, status in t)
    print("%d writes, of which %d through the outbox, %d held" % (told, queued, len(held)))
    assert told > PUTTERS + POSTERS and queued > 0 and diary.read > PUTTERS

    for path, writes in diary.told.items():
        if path.startswith("/put/"):
            assert_puts(path, writes, without_repeats([int(b) for b in done[path]]), origin.text(path))
        else:
            assert_posts(path, writes, collections.Counter(done[path]), held)
    assert weir.metric("weir_outbox_deliveries_total", service="files", outcome="conflict") == 0
    for path in sorted(p for p in diary.told if p.startswith("/put/"))[::10]:
        assert mirror.get(path).text == origin.text(path)


def settled(weir):
    """Wait for the deliveries. POSTs that are held are dropped, so that those behind them go as well; their numbers."""
    held = set()

    def over():
        for entry in weir.outbox(state="held"):
            assert entry["method"] == "POST" and "outcome_unknown" in entry["last_error"], entry
            held.add(weir.admin("GET", "/api/v1/outbox/%s/body" % entry["id"]).text)
            assert weir.entry_do(entry["id"], "drop").status < 300
        return weir.outbox_count("queued", "sending", "held") == 0
    wait_until(over, 90, "the outbox comes to an end")
    return held


def assert_puts(path, writes, done, last):
    acknowledged = [n for n, status in writes if status in ACKNOWLEDGED]
    assert done == sorted(set(done)), "%s: out of order: %s" % (path, done)
    assert set(acknowledged) <= set(done), "%s: lost: %s" % (path, set(acknowledged) - set(done))
    if acknowledged:
        assert int(last) >= acknowledged[-1], path


def assert_posts(path, writes, done, held):
    for number, status in writes:
        if status in ACKNOWLEDGED and number not in held:
            assert done[number] == 1, "%s: %s was done %d times" % (path, number, done[number])
        else:
            assert done[number] <= 1, "%s: %s was done %d times" % (path, number, done[number])
    assert set(done) <= {n for n, _ in writes}
