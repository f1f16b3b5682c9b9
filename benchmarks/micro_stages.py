"""``make bench-micro``: what each stage of a request costs, in microseconds, so that a regression has a name.

One thread, no socket. The stages are those of the request's way, on the route and the browser's head that ``make
bench`` uses: a hit on the express lane, a hit on the ordinary way, and what forwarding adds.
"""

import gc
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from cacheproxy.engine.engine import Client
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.serve import reply_from, reply_through
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, cache_key
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.plan import plan
from cacheproxy.semantics.storing import assess
from cacheproxy.server.head import parse_head
from cacheproxy.server.wire import render_head
from cacheproxy.settings import Settings
from cacheproxy.storage.contract import Entry
from cacheproxy.upstream.request_head import render
from cacheproxy.upstream.response_reader import ResponseReader
from cacheproxy.wiring.application import Application, assemble

CONFIG = Path(__file__).with_name("conf") / "sidecar.yaml"
RUNS = 7
PEER = "127.0.0.1"
DATE = b"Fri, 20 Nov 2026 12:00:00 GMT"
HEAD = b"""GET /items/1 HTTP/1.1
Host: 127.0.0.1:8080
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9,de;q=0.8
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36
Referer: https://app.example.com/articles
Sec-Fetch-Dest: empty
Sec-Fetch-Mode: cors
Sec-Fetch-Site: same-origin
Sec-Ch-Ua: "Chromium";v="130", "Not?A_Brand";v="99"
Sec-Ch-Ua-Mobile: ?0
Sec-Ch-Ua-Platform: "Linux"
Dnt: 1
Priority: u=1, i
Cookie: _ga=GA1.1.123456789.1700000000; theme=dark; consent=yes

""".replace(b"\n", b"\r\n")
BODY = b'{"id":1,"title":"' + b"a" * 281 + b'"}'
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: " + DATE + b"\r\nContent-Type: application/json\r\n"
    b'Content-Length: 300\r\nConnection: keep-alive\r\nCache-Control: max-age=3600\r\nETag: "v1"\r\n\r\n' + BODY
)
Stage = tuple[str, Callable[[], object]]


def each_us(step: Callable[[], object]) -> float:
    """Microseconds of one ``step``: the best of some runs, for what is slower is somebody else's work."""
    times, best = 2_000, float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(times):
            step()
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


async def each_awaited_us(step: Callable[[], Awaitable[object]]) -> float:
    """The same for a step that is awaited, though it waits for nothing."""
    times, best = 1_000, float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(times):
            await step()
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


async def stored(application: Application, key: CacheKey) -> Entry:
    """The response as L1 keeps it from now on."""
    now = time.time()
    entry = Entry(
        key=key.text,
        status=200,
        fields=Fields.of(("date", DATE.decode()), ("content-type", "application/json"), ("etag", '"v1"')),
        body=BODY,
        requested_at=now,
        received_at=now,
        lifetime_s=3600.0,
        swr_s=0.0,
        keep_until=now + 3660.0,
        stamp=await application.state.purger.begin(),
        tags=key.tags,
        route="item",
    )
    application.state.l1.keep(entry)
    return entry


def hit(application: Application, key: CacheKey, entry: Entry) -> list[Stage]:
    """The stages of a hit on the ordinary way, in their order."""
    active, l1 = application.engine.active, application.state.l1
    request = application.adapter.read(HEAD, "http", PEER).request
    match = active.router.match(request.method, request.path, request.authority)
    assert match is not None
    rules = match.route.cache
    assert rules is not None
    now = time.time()
    reply = reply_from(request, entry, b"0")
    return [
        ("parse_head (grammar, llhttp)", lambda: parse_head(HEAD)),
        ("understand (client, forwarded)", lambda: application.adapter.understand(request, PEER)),
        ("both, head known", lambda: application.adapter.read(HEAD, "http", PEER)),
        ("route", lambda: active.router.match(request.method, request.path, request.authority)),
        ("key and tags", lambda: cache_key(match.route, request, match.params, Identity(), prefix="cacheproxy")),
        ("L1 find", lambda: l1.find(key.text, request.fields)),
        ("L1 peek (entry unfolded)", lambda: l1.peek(key.text, request.fields)),
        ("plan", lambda: plan(request, entry, rules, now)),
        ("reply from entry", lambda: reply_from(request, entry, b"0")),
        ("render head", lambda: render_head(reply, head_only=False, date=DATE, close=False)),
    ]


def forwarding(application: Application) -> list[Stage]:
    """What a request that goes to the origin costs beside."""
    request = application.adapter.read(HEAD, "http", PEER).request
    policy = application.engine.active.policy
    rules = next(route.cache for route in policy.routes if route.name == "item")
    assert rules is not None
    reader = ResponseReader("GET")
    reader.feed(RESPONSE)
    head = reader.head
    assert head is not None
    now = time.time()
    return [
        ("render request", lambda: render(request, None, b"127.0.0.1")),
        ("read response", lambda: ResponseReader("GET").feed(RESPONSE)),
        ("reply through", lambda: reply_through(head, BODY)),
        ("assess (may it be stored)", lambda: assess(request, head, rules, requested_at=now, received_at=now)),
    ]


async def express(application: Application) -> list[Stage]:
    """The express lane, once it knows the head."""
    lane = application.edge.lane
    reply: Reply = await answered(application)
    head, _, _ = render_head(reply, head_only=False, date=DATE, close=False)
    lane.learn(HEAD, reply, head, method="GET", trusted=False)
    assert lane.answer(HEAD, trusted=False) is not None
    return [("express lane: the whole answer", lambda: lane.answer(HEAD, trusted=False))]


def answered(application: Application) -> Awaitable[Reply]:
    """The engine's answer to ``HEAD``."""
    request = application.adapter.read(HEAD, "http", PEER).request
    return application.engine.handle(request, None, Client(address=PEER))


async def measure() -> None:
    """Print every stage."""
    settings = Settings.load(config=str(CONFIG), redis="none", upstream="http://127.0.0.1:9")
    policy, router = load_policy(CONFIG.read_text("utf-8"), str(CONFIG), os.environ, upstream_url=settings.upstream)
    async with AsyncExitStack() as stack:
        settings = settings.model_copy(update={"access_log": "off"})
        application = await assemble(settings, policy, router, stack)
        arrived = application.adapter.read(HEAD, "http", PEER)
        match = router.match("GET", arrived.request.path, arrived.request.authority)
        assert match is not None
        key = cache_key(match.route, arrived.request, match.params, Identity(), prefix=settings.prefix)
        assert isinstance(key, CacheKey)
        entry = await stored(application, key)
        gc.freeze()
        for name, step in [*await express(application), *hit(application, key, entry), *forwarding(application)]:
            print(f"{name:<34}{each_us(step):8.2f} us", flush=True)
        whole = await each_awaited_us(lambda: answered(application))
        print(f"{'engine: a hit, routed to dressed':<34}{whole:8.2f} us")


if __name__ == "__main__":
    uvloop.run(measure())
