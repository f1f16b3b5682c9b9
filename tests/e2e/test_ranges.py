"""Parts and wholes of a resource that changes: whatever is asked for in whatever order, no two versions are mixed."""

import itertools
import random
import re

import pytest

from .wire import Answer, Seen, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
routes:
  - {name: kept, match: "GET /kept/{id}", cache: {ttl: 60s, key: "kept:{id}", stale_if_error: 1h}}
  - {name: stale, match: "GET /stale/{id}", cache: {ttl: 0s, key: "stale:{id}"}}
  - {name: small, match: "GET /small/{id}", cache: {ttl: 60s, key: "small:{id}", max_body: 3000B}}
"""
SIZES = [80, 4000, 300_000, 800_000]
"""Below and above what comes at once, and what ``small`` may store."""
STEPS = 14


@pytest.fixture(scope="module")
def sidecar(raw_sidecars):
    """One sidecar for all of these."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


class Resource:
    """A resource that has a new version now and then, at an origin that forgets ranges or fails at times."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.version = 1
        self.mood = "well"

    def content(self, version: int) -> bytes:
        """All of a version."""
        return b"%08d" % version * (self.size // 8)

    def answer(self, seen: Seen) -> bytes:
        """As RFC 9110 §13 and §14 say."""
        tag = b'"%d"' % self.version
        if self.mood == "failing":
            return ok(b"down", status=b"503 Unavailable")
        if tag in (seen.get("if-none-match") or b""):
            return b"HTTP/1.1 304 Not Modified\r\netag: %b\r\n\r\n" % tag
        asked = re.fullmatch(rb"bytes=([0-9]*)-([0-9]*)", seen.get("range") or b"")
        if asked is None or self.mood == "forgetful" or seen.get("if-range") not in {None, tag}:
            return ok(self.content(self.version), b"etag: " + tag)
        return self._part(asked[1], asked[2], tag)

    def _part(self, given: bytes, until: bytes, tag: bytes) -> bytes:
        first = int(given) if given else max(0, self.size - int(until))
        last = min(int(until), self.size - 1) if given and until else self.size - 1
        if first > last:
            return ok(b"", b"content-range: bytes */%d" % self.size, status=b"416 Range Not Satisfiable")
        extent = b"content-range: bytes %d-%d/%d" % (first, last, self.size)
        return ok(self.content(self.version)[first : last + 1], b"etag: " + tag, extent, status=b"206 Partial Content")

    def check(self, answer: Answer, asked: list[bytes]) -> None:
        """Fail where ``answer`` is not what one of the versions has to say to a request with the lines ``asked``."""
        names = {line.partition(b":")[0] for line in asked}
        assert answer.whole
        assert answer.status in {200, 503} | ({206, 416} if b"Range" in names else set()) | (
            {304} if b"If-None-Match" in names else set()
        )
        if answer.status not in {200, 206}:
            return
        whole = self.content(int((answer.get("etag") or "").strip('"')))
        extent = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", answer.get("content-range") or "")
        if answer.status == 200:
            assert whole == answer.body
        elif extent is not None:
            assert (whole[int(extent[1]) : int(extent[2]) + 1], self.size) == (answer.body, int(extent[3]))


def lines(draw: random.Random, size: int, version: int) -> list[bytes]:
    """What a client may ask for: all, a range, several, none that there is; sometimes on a condition."""
    first = draw.randrange(size)
    last = draw.choice([first, min(size - 1, first + draw.randrange(1, size)), size + 5])
    ranges = [b"%d-%d" % (first, last), b"0-%d" % first, b"%d-" % first, b"-%d" % (first + 1), b"%d-" % size]
    given = [b"Range: bytes=" + draw.choice([*ranges, b"0-1,%d-%d" % (first, last)])] if draw.random() < 0.6 else []
    if draw.random() < 0.15:
        given.append(b'If-Range: "%d"' % draw.randint(1, version))
    if draw.random() < 0.15:
        given.append(b'If-None-Match: "%d"' % draw.randint(1, version))
    return given


@pytest.mark.parametrize("seed", range(4))
def test_no_two_versions_are_mixed(sidecar, raw_origin, connect, seed: int) -> None:
    """Every whole is all of one version and every part its part, though origins change, forget ranges and fail."""
    draw = random.Random(seed)
    for prefix, size in itertools.product(["/kept", "/stale", "/small"], SIZES):
        path, resource, wire = raw_origin.path(prefix), Resource(size), connect(sidecar)
        raw_origin.only(path, resource.answer)
        for _ in range(STEPS):
            resource.version += draw.random() < 0.1
            resource.mood = draw.choice(["well"] * 8 + ["forgetful", "failing"])
            asked = lines(draw, size, resource.version)
            raw = b"".join(line + b"\r\n" for line in asked)
            resource.check(wire.ask(b"GET %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (path, raw)), asked)
