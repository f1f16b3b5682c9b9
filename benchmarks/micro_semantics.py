"""What the caching rules cost: microseconds for each decision on the way of a hit and of a miss.

    python benchmarks/micro_semantics.py

Exits 1 if ``assess`` and ``plan`` together take 15 microseconds or more.
"""

import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.semantics.cache_control import CacheControl, parse
from cacheproxy.semantics.cache_status import cache_status
from cacheproxy.semantics.conditional import not_modified
from cacheproxy.semantics.dates import format_http_date, parse_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import request_fields, response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.plan import Serve, plan
from cacheproxy.semantics.ranges import select
from cacheproxy.semantics.rules import CacheRules
from cacheproxy.semantics.storing import Store, assess
from cacheproxy.semantics.vary import VariantRef, choose, variance

NOW = 1_700_000_000.5
LIMIT_US = 15.0
REPEATS = 5
CALLS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """As ``storage.contract.Entry``, with what the rules look at."""

    status: int
    fields: Fields
    body: bytes
    received_at: float
    lifetime_s: float
    initial_age_s: float
    swr_s: float
    sie_s: float
    must_revalidate: bool


REQUEST = RequestHead(
    method="GET",
    target=b"/articles?skip=0&limit=20",
    authority=b"example.org",
    fields=Fields.of(
        ("host", "example.org"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36",
        ),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.7"),
        ("cookie", "session_id=0123456789abcdef"),
        ("referer", "https://example.org/"),
        ("sec-fetch-mode", "cors"),
        ("connection", "keep-alive"),
    ),
)
RESPONSE = ResponseHead(
    200,
    Fields.of(
        ("date", format_http_date(NOW).decode()),
        ("server", "uvicorn"),
        ("content-type", "application/json"),
        ("content-length", "300"),
        ("cache-control", "public, max-age=60, stale-while-revalidate=30"),
        ("etag", '"0123456789abcdef"'),
        ("vary", "accept-encoding"),
    ),
)
RULES = CacheRules(ttl_s=60.0)


def main() -> int:
    """0 if a hit's rules are fast enough, else 1."""
    verdict = _assess()
    assert isinstance(verdict, Store)
    stored = StoredResponse(
        status=verdict.status,
        fields=verdict.fields,
        body=b"x" * 300,
        received_at=NOW,
        lifetime_s=verdict.lifetime_s,
        initial_age_s=verdict.initial_age_s,
        swr_s=verdict.swr_s,
        sie_s=verdict.sie_s,
        must_revalidate=verdict.must_revalidate,
    )
    assert isinstance(plan(REQUEST, stored, RULES, NOW + 10), Serve)
    variants = [VariantRef(names=verdict.vary, variance=verdict.variance)]
    header = b'public, max-age=61, s-maxage=9, stale-if-error=60, no-cache="set-cookie"'
    assess_us = _timed("assess (a response that is stored)", _assess)
    plan_us = _timed("plan (a hit)", lambda: plan(REQUEST, stored, RULES, NOW + 10))
    _timed("choose among variants", lambda: choose(variants, REQUEST.fields))
    _timed("variance of one field", lambda: variance(verdict.vary, REQUEST.fields))
    _timed("Cache-Control, seen before", lambda: CacheControl.of(RESPONSE.fields))
    _timed("Cache-Control, new", lambda: parse.__wrapped__(header))
    _timed("HTTP date, seen before", lambda: parse_http_date(b"Tue, 14 Nov 2023 22:13:20 GMT"))
    _timed("HTTP date, new", lambda: parse_http_date.__wrapped__(b"Tue, 14 Nov 2023 22:13:20 GMT"))
    _timed("client's conditions", lambda: not_modified(REQUEST, stored))
    _timed("range selection without Range", lambda: select(REQUEST, stored))
    _timed("fields towards the origin", lambda: request_fields(REQUEST))
    _timed("fields towards the client", lambda: response_fields(RESPONSE.fields))
    _timed("Cache-Status of a hit", lambda: cache_status(hit=True, ttl=50))
    together_us = assess_us + plan_us
    print(f"{'assess and plan together':<40}{together_us:>8.2f} us, limit {LIMIT_US:.0f}")
    return 0 if together_us < LIMIT_US else 1


def _assess() -> object:
    return assess(REQUEST, RESPONSE, RULES, requested_at=NOW, received_at=NOW + 0.1)


def _timed(name: str, call: Callable[[], object]) -> float:
    """Microseconds of the fastest of several runs: what disturbs a run only ever makes it slower."""
    best_us = min(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS * 1e6
    print(f"{name:<40}{best_us:>8.2f} us")
    return best_us


if __name__ == "__main__":
    sys.exit(main())
