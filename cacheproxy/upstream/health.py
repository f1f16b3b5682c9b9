"""Whether the origin says that it is well: its health path, asked at intervals."""

import asyncio
from contextlib import suppress
from typing import Self

import httpx

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.upstream.dial import tls_context
from cacheproxy.upstream.request_head import authority


class HealthProber:
    """Polls the origin's health path while it is entered as a context; asks nothing where there is no such path."""

    def __init__(self, rules: UpstreamRules) -> None:
        """Probe as ``rules`` say."""
        self._path = rules.health_path
        self._interval_s = rules.health_interval_s
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=rules.socket, verify=tls_context(rules) or False),
            base_url=f"{rules.scheme}://{authority(rules).decode()}",
            timeout=min(rules.timeouts.first_byte_s, rules.health_interval_s),
            trust_env=False,
        )
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
        await self._client.aclose()

    async def probe(self) -> None:
        """Ask once, and note the answer: well is any status below 400. The body is not read."""
        try:
            async with self._client.stream("GET", self._path or "/") as response:
                self.healthy = response.status_code < 400
                self.error = "" if self.healthy else f"status {response.status_code}"
        except httpx.HTTPError as error:
            self.healthy, self.error = False, f"{type(error).__name__}: {error}"

    async def _poll(self) -> None:
        while True:
            await self.probe()
            await asyncio.sleep(self._interval_s)
