"""Whether the origin says that it is well: its health path, asked at intervals."""

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.upstream.dial import tls_context
from cacheproxy.upstream.request_head import authority

if TYPE_CHECKING:
    import httpx


class HealthProber:
    """Polls the origin's health path while it is entered as a context; asks nothing where there is no such path."""

    def __init__(self, rules: UpstreamRules) -> None:
        """Probe as ``rules`` say."""
        self._rules = rules
        self._path = rules.health_path
        self._tls = tls_context(rules)
        self._client: httpx.AsyncClient | None = None
        self._polling: asyncio.Task[None] | None = None
        self.healthy: bool | None = None
        """What the last probe found; None before the first one, and where there is no path to ask."""
        self.error = ""
        """Why it is not healthy; empty where it is."""

    async def __aenter__(self) -> Self:
        """Begin to poll, at once."""
        if self._path is not None:
            self._polling = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        if self._client is not None:
            await self._client.aclose()

    async def probe(self) -> None:
        """Ask once, and note the answer: well is any status below 400. The body is not read."""
        import httpx  # noqa: PLC0415 - 3 MB, and most policies have no health path

        self._client = self._client or _client(self._rules, self._tls)
        try:
            async with self._client.stream("GET", self._path or "/") as response:
                self.healthy = response.status_code < 400
                self.error = "" if self.healthy else f"status {response.status_code}"
        except httpx.HTTPError as error:
            self.healthy, self.error = False, f"{type(error).__name__}: {error}"

    async def _poll(self) -> None:
        while True:
            await self.probe()
            await asyncio.sleep(self._rules.health_interval_s)


def _client(rules: UpstreamRules, tls: ssl.SSLContext | None) -> "httpx.AsyncClient":
    import httpx  # noqa: PLC0415

    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=rules.socket, verify=tls or False),
        base_url=f"{rules.scheme}://{authority(rules).decode()}",
        timeout=min(rules.timeouts.first_byte_s, rules.health_interval_s),
        trust_env=False,
    )
