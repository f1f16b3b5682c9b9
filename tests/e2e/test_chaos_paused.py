"""A replica that is stopped with requests under way, and goes on after the world has changed."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .conftest import Connect, Sidecar, StartSidecars
from .versions import VersionedOrigin

pytestmark = pytest.mark.e2e

FIRST_BYTE_S = 0.5
POLICY = f"""
version: 1
upstream:
  url: http://127.0.0.1:1
  timeouts: {{first_byte: {FIRST_BYTE_S * 1000:.0f}ms}}
routes:
  - {{name: thing, match: "GET /v/{{id}}", cache: {{ttl: 1h, key: "v:{{id}}", tags: ["v:{{id}}"]}}}}
events: {{on_gap: keep}}
"""


@pytest.fixture
def things() -> Iterator[VersionedOrigin]:
    """An origin of the test's own."""
    origin = VersionedOrigin().start()
    yield origin
    origin.stop()


@pytest.fixture
def pair(sidecars: StartSidecars, things: VersionedOrigin, valkey: str) -> list[Sidecar]:
    """One that goes on, and one that is stopped."""
    return sidecars(2, valkey, policy=POLICY, upstream=things.url)


def get(url: str) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(url, trust_env=False, timeout=20)


def test_an_answer_that_lay_unread_while_we_stood_still_is_in_time(pair, things) -> None:
    """The origin has answered while the replica could not look: that is no time-out of the origin's."""
    _, paused = pair
    things.gate.clear()
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(get, f"{paused.url}/v/{number}") for number in range(5)]
        for number in range(5):
            things.until_asked(f"/v/{number}", 1)
        paused.send(signal.SIGSTOP)
        things.gate.set()
        time.sleep(2 * FIRST_BYTE_S)  # the limit runs out while it stands still
        paused.send(signal.SIGCONT)
        assert {answer.result().status_code for answer in asking} == {200}


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_fill_that_was_under_way_when_it_was_stopped_is_given_to_nobody_after(
    pair, things, connect: Connect, mode: str
) -> None:
    """What the origin said before the purge lies unread when it goes on: who asked after the purge gets the new."""
    one, paused = pair
    request = b"GET /v/1 HTTP/1.1\r\nHost: example.com\r\n\r\n"
    early, *late = (connect(paused) for _ in range(4))
    things.gate.clear()
    early.send(request)
    things.until_asked("/v/1", 1)
    paused.send(signal.SIGSTOP)
    things.gate.set()
    things.bump("/v/1")
    assert one.purge(tags=["v:1"], mode=mode, wait="5s")["silent"] == []
    for wire in late:
        wire.send(request)
    paused.send(signal.SIGCONT)
    assert b'"version": 1' in early.answer().body
    assert [b'"version": 2' in wire.answer().body for wire in late] == [True] * 3
    assert get(f"{paused.url}/v/1").json()["version"] == 2
