"""The origin's connections and health checks, which a reload may replace while requests are under way."""

from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.contract import OnInterim, Prepared, RequestBody, Sent
from cacheproxy.upstream.exchange import Response
from cacheproxy.upstream.health import HealthProber
from cacheproxy.upstream.origin import HttpOrigin


class ReplaceableOrigin:
    """An ``upstream.contract.Origin`` with its prober. A request stays with the origin that it began with."""

    def __init__(self, rules: UpstreamRules, source: str) -> None:
        """Reach the origin by ``rules`` of the policy ``source``; nothing is asked before ``start``. PolicyError."""
        self._rules = rules
        self._source = source
        self._origin = self._reached(rules)
        self._prober = HealthProber(rules)
        self._before: list[HttpOrigin] = []

    @property
    def healthy(self) -> bool | None:
        """What the last probe found; None where there was none."""
        return self._prober.healthy

    @property
    def connections(self) -> dict[str, int]:
        """How many there are, by what they do (``upstream.pool.Pool.counts``)."""
        return self._origin.connections

    @property
    def gave_way(self) -> int:
        """How many slow readers lost their connection to others, since the start."""
        return sum(origin.gave_way for origin in (*self._before, self._origin))

    async def start(self) -> None:
        """Begin to probe."""
        await self._prober.__aenter__()

    async def send(
        self,
        request: RequestHead,
        body: RequestBody | None = None,
        on_interim: OnInterim | None = None,
        begun: Sent | None = None,
    ) -> Response:
        """The origin's response. UpstreamError."""
        return await self._origin.send(request, body, on_interim, begun)

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> Sent | None:
        """What is on its way at once, if anything is."""
        return self._origin.begin(prepared, fields, content)

    async def follow(self, rules: UpstreamRules) -> None:
        """Reach the origin by ``rules`` from now on. PolicyError where certificates cannot be read: nothing changes.

        Connections made before end with their requests, or once idle.
        """
        if rules == self._rules:
            return
        origin, prober = self._reached(rules), HealthProber(rules)
        self._before.append(self._origin)
        before, self._rules, self._origin, self._prober = self._prober, rules, origin, prober
        await before.__aexit__()
        await prober.__aenter__()

    def _reached(self, rules: UpstreamRules) -> HttpOrigin:
        try:
            return HttpOrigin(rules)
        except OSError as error:
            fault = Fault(f"the certificates in `{rules.ca_file}` cannot be used: {error}", "upstream.ca_file")
            raise PolicyError(self._source, [fault]) from error

    async def aclose(self) -> None:
        """Close all connections, and stop probing."""
        await self._prober.__aexit__()
        for origin in (*self._before, self._origin):
            await origin.aclose()
