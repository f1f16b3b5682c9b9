"""Step 10: one line in the log and one count in the metrics for each request, read from its Exchange."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import structlog

from cacheproxy.clock import Clock
from cacheproxy.engine.access_line import LineForm, text_of
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.popular import Counters
from cacheproxy.engine.recorder import Event, Recorder, Tally
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.route import Route
from cacheproxy.semantics.fields import Fields


class AccessLog(StrEnum):
    """Which requests get a line: all, all but most of the hits, or none."""

    ALL = "all"
    SAMPLED = "sampled"
    OFF = "off"


CLIENT_GONE = "client-gone"
CLIENT_CLOSED_REQUEST = 499
"""No status of HTTP's, and never sent: what nginx logs for a client that did not wait."""
_WORDS = {word: word.lower() for word in XCache}
HIT_SAMPLE = 100
"""Of this many hits one gets a line, where the log is sampled."""


WriteLine = Callable[[str], None]
"""Writes one line of the access log, which is JSON already. Never waits, never raises."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """What is to be noted of requests that are answered alike."""

    exchange: Exchange
    """One of them."""
    status: int
    tally: Tally
    form: LineForm


class Journal:
    """Takes note of answered requests."""

    def __init__(
        self,
        recorder: Recorder,
        clock: Clock,
        lines: AccessLog = AccessLog.SAMPLED,
        counters: Counters | None = None,
        write_line: WriteLine | None = None,
    ) -> None:
        """Count with ``recorder``, and what is used most with ``counters``; write ``lines`` with ``write_line``.

        Without that they go through structlog, as whatever else is logged.
        """
        self._recorder = recorder
        self._clock = clock
        self._lines = lines
        self._counters = Counters() if counters is None else counters
        self._hits = 0
        self._log = structlog.get_logger("cacheproxy.access")
        self._write_line = write_line

    def record(self, exchange: Exchange, reply: Reply) -> None:
        """Note that ``exchange`` was answered with ``reply``. What we asked for ourselves is no client's request."""
        if exchange.ours:
            return
        self._counters.note(exchange, reply)
        seconds = self._clock.monotonic() - exchange.started
        self._recorder.request(**_labels(exchange), seconds=seconds)
        if self._wanted(hit=exchange.hit):
            self._write(exchange, reply.status, seconds)

    def _write(self, exchange: Exchange, status: int, seconds: float) -> None:
        line = _line(exchange, status, seconds)
        if self._write_line is None:
            self._log.info("request", **line)
        else:
            self._write_line(text_of(line, self._clock.now()))

    def repeating(self, exchange: Exchange, status: int) -> Repeated:
        """What is to be noted of requests that are answered as ``exchange`` is, with ``status``. They are no hits."""
        tally = self._recorder.tally(**_labels(exchange))
        return Repeated(exchange, status, tally, LineForm.of(_line(exchange, status, 0.0)))

    def again(self, repeated: Repeated, request_id: bytes, client: str, path: str, seconds: float) -> None:
        """Note one more that is ``repeated``, for ``client``. It took ``seconds``, all of them the origin's."""
        repeated.tally.add(seconds)
        if self._lines is AccessLog.OFF:
            return
        if self._write_line is None:
            exchange = replace(
                repeated.exchange,
                request=repeated.exchange.request.with_target(path.encode("latin-1")),
                request_id=request_id.decode(),
                identity=replace(repeated.exchange.identity, client_ip=client),
                upstream_s=seconds,
            )
            self._write(exchange, repeated.status, seconds)
        else:
            took_ms = round(seconds * 1000, 3)
            self._write_line(repeated.form.filled(request_id.decode(), client, path, took_ms, self._clock.now()))

    def refused(self, reason: str) -> None:
        """Note that a request was refused for what it was: ``reason`` is the code of its ClientError."""
        self._recorder.event(Event.REFUSED, reason)

    def gone(self, exchange: Exchange) -> None:
        """Note that the client of ``exchange`` left before its answer."""
        if exchange.ours:
            return
        exchange.error = CLIENT_GONE
        self.refused(CLIENT_GONE)
        self.record(exchange, Reply(CLIENT_CLOSED_REQUEST, Fields(())))

    @property
    def every_line(self) -> bool:
        """Whether each request gets a line, so that none may take the express lane."""
        return self._lines is AccessLog.ALL

    def hits(self, method: str, route: str, resource_type: str) -> Tally:
        """Where hits on the express lane are counted. Their lines are those that are ``sampled``."""
        return self._recorder.tally(
            method=method, route=route, cache_status="hit", resource_type=resource_type, hit=True
        )

    def refusals(self, method: str, route: str) -> Tally:
        """Where refusals on the express lane are counted. They are ``sampled`` too: a flood must not fill the log."""
        return self._recorder.tally(method=method, route=route, cache_status="bypass", resource_type="", hit=False)

    def sampled(self) -> bool:
        """Whether a request on the express lane should go the ordinary way, which writes its line and counts its use.

        To be asked once for each: every hundredth should.
        """
        self._hits += 1
        return self._hits % HIT_SAMPLE == 0 and (self._lines is AccessLog.SAMPLED or len(self._counters) > 0)

    def stands_for_many(self, key: str) -> None:
        """Note that the hit on ``key`` which is ``sampled`` stands for those that took the express lane."""
        self._counters.again(key, HIT_SAMPLE - 1)

    def _wanted(self, *, hit: bool) -> bool:
        if self._lines is AccessLog.ALL or not hit:
            return self._lines is not AccessLog.OFF
        self._hits += 1
        return self._lines is AccessLog.SAMPLED and self._hits % HIT_SAMPLE == 1


def _labels(exchange: Exchange) -> dict[str, Any]:
    """What ``exchange`` is counted under (``Recorder.request``)."""
    return {
        "method": exchange.request.method,
        "route": exchange.route.name,
        "cache_status": _WORDS[exchange.x_cache],
        # past the cache, or refused before it: neither a hit nor a miss
        "resource_type": "" if exchange.x_cache is XCache.BYPASS else resource_type(exchange.route),
        "hit": exchange.hit,
    }


def resource_type(route: Route) -> str:
    """The first word of the route's keys (``articles``); its name without a template; empty if it never caches."""
    if route.cache is None:
        return route.batch.resource if route.batch is not None else ""
    return route.name if route.key is None else route.key.text.partition(":")[0]


def _line(exchange: Exchange, status: int, seconds: float) -> dict[str, Any]:
    line: dict[str, Any] = {
        "request_id": exchange.request_id,
        "method": exchange.request.method,
        "path": exchange.request.path.decode("latin-1"),
        "status": status,
        "route": exchange.route.name,
        "operation": "get",
        "resource_type": resource_type(exchange.route),
        "cache": exchange.x_cache.lower(),
        "cache_hit": exchange.x_cache in {XCache.HIT, XCache.STALE},
        "duration_ms": round(seconds * 1000, 3),
        "upstream_ms": round(exchange.upstream_s * 1000, 3),
        "client": exchange.identity.client_ip,
        "org_id": exchange.identity.tenant,
        "tier": exchange.tier,
        "fwd": exchange.forward,
        "fwd_status": exchange.forward_status,
        "detail": exchange.detail,
        "error": exchange.error,
        "error_detail": exchange.error_detail,
    }
    return {name: value for name, value in line.items() if value not in (None, "")}
