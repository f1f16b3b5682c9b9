"""The prober against an origin that is well, is not, and is gone."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
import respx

from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.upstream.health import HealthProber

RULES = UpstreamRules(host="origin.example", port=8000, health_path="/health", health_interval_s=0.01)
URL = "http://origin.example:8000/health"


@pytest.mark.parametrize(
    ("status", "healthy", "error"),
    [(200, True, ""), (204, True, ""), (302, True, ""), (404, False, "status 404"), (503, False, "status 503")],
)
@respx.mock
async def test_the_status_decides(status: int, healthy: bool, error: str) -> None:
    """Anything below 400 is well; redirects are not followed."""
    respx.get(URL).respond(status, headers={"location": "http://elsewhere.example/"})
    prober = HealthProber(RULES)
    await prober.probe()
    assert (prober.healthy, prober.error) == (healthy, error)


@respx.mock
async def test_no_answer_is_not_well() -> None:
    """Whatever keeps an answer from coming is told."""
    respx.get(URL).mock(side_effect=httpx.ConnectError("refused"))
    prober = HealthProber(RULES)
    await prober.probe()
    assert (prober.healthy, prober.error) == (False, "ConnectError: refused")


@respx.mock
async def test_it_asks_at_once_and_again() -> None:
    """Entered, it polls until it is left, and follows the origin's state."""
    answers = asyncio.Queue()
    for status in (503, 200):
        answers.put_nowait(status)
    third = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        if answers.empty():
            third.set()
        return httpx.Response(200 if answers.empty() else answers.get_nowait())

    respx.get(URL).mock(side_effect=answer)
    prober = HealthProber(RULES)
    assert prober.healthy is None
    async with prober:
        await third.wait()
        assert prober.healthy is True
    calls = respx.calls.call_count
    await asyncio.sleep(0)
    assert respx.calls.call_count == calls


async def test_without_a_path_nothing_is_asked() -> None:
    """No health path, no verdict."""
    async with HealthProber(UpstreamRules(port=1)) as prober:
        await asyncio.sleep(0)
        assert prober.healthy is None


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_a_real_origin_is_asked(serve: Callable[..., Awaitable[UpstreamRules]], unix: bool) -> None:
    """Over TCP and unix sockets, an endless body notwithstanding."""

    async def handler(peer) -> None:
        head = await peer.request()
        assert head.startswith(b"GET /health HTTP/1.1\r\n")
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nwell")
        await peer.gone()

    rules = await serve(handler, unix=unix, health_path="/health", timeouts=Timeouts(first_byte_s=20))
    async with HealthProber(rules) as prober:
        await prober.probe()
        assert (prober.healthy, prober.error) == (True, "")
