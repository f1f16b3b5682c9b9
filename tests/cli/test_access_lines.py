"""The access log's lines, which pass by structlog: what they say is what it would write."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cli.serve import access_lines, log_as_json
from cacheproxy.clock import SystemClock
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.record import AccessLog, Journal
from cacheproxy.engine.recorder import NullRecorder
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.load import load_policy
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.plan import Forward
from cacheproxy.semantics.storing import PassReason
from cacheproxy.storage.contract import Tier

POLICY, _ = load_policy('version: 1\nroutes: [{name: all, match: "/{rest:path}"}]', "test.yaml", {})
TEXTS = st.text(max_size=8) | st.sampled_from(['"', "\\", "\0", "\u2028", "é", "x"])
EXCHANGES = st.builds(
    Exchange,
    request=st.builds(RequestHead, method=TEXTS, target=st.binary(max_size=8)),
    body=st.none(),
    on_interim=st.none(),
    request_id=st.from_regex(r"[A-Za-z0-9._:+/=@-]{1,12}", fullmatch=True),
    started=st.floats(0, 9e9),
    now=st.just(0.0),
    budget=st.just(Budget(0.0)),
    policy=st.just(POLICY),
    route=st.sampled_from(POLICY.routes),
    identity=st.builds(Identity, client_ip=TEXTS, tenant=st.none() | TEXTS),
    x_cache=st.sampled_from(XCache),
    forward=st.none() | st.sampled_from(Forward),
    forward_status=st.none() | st.integers(100, 599),
    tier=st.none() | st.sampled_from(Tier),
    detail=st.none() | st.sampled_from([*Detail, *PassReason]),
    upstream_s=st.floats(0, 1e4),
    error=TEXTS,
    error_detail=TEXTS,
)


class Stopped(SystemClock):
    """A clock that stands."""

    monotonic = staticmethod(lambda: 9e9)


class Taken(list[str]):
    """Takes lines as ``LogLines`` does."""

    def msg(self, line: str) -> None:
        """Take ``line``."""
        self.append(line)

    info = warning = msg


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    """Where lines go that are logged as ``cacheproxy serve`` does."""
    taken = Taken()
    monkeypatch.setattr("cacheproxy.cli.serve.LogLines", lambda *_: taken)
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    yield taken
    structlog.reset_defaults()


def journal(lines: Taken, *, aside: bool) -> Journal:
    """A journal that writes to ``lines``, past structlog if ``aside``."""
    return Journal(NullRecorder(), Stopped(), AccessLog.ALL, write_line=lines.msg if aside else None)


def told(line: str) -> dict[str, object]:
    """What ``line`` says, in its order, but for when it was written."""
    read: dict[str, object] = json.loads(line)
    assert str(read.pop("at")).endswith("Z")
    return read


def test_a_line_is_the_one_that_structlog_writes(lines: Taken) -> None:
    """The same members in the same order, whatever they hold."""
    log_as_json("info")
    both = journal(lines, aside=False), journal(lines, aside=True)

    @given(exchange=EXCHANGES, status=st.integers(100, 599))
    def check(exchange: Exchange, status: int) -> None:
        lines.clear()
        for each in both:
            each.record(exchange, Reply(status, Fields()))
        through, aside = map(told, lines)
        assert list(through.items()) == list(aside.items())

    check()


def test_a_line_that_is_repeated_is_that_of_a_request_answered_alike(lines: Taken) -> None:
    """Put together from its parts it says what the whole would: its own id, path, times and client, and the rest."""
    log_as_json("info")
    both = journal(lines, aside=False), journal(lines, aside=True)

    @given(
        exchange=EXCHANGES,
        first=EXCHANGES,
        status=st.integers(100, 599),
        client=st.ip_addresses().map(str) | st.just("unix"),
        path=st.binary(min_size=1, max_size=8).map(lambda path: path.replace(b"?", b"").decode("latin-1") or "/"),
        took_s=st.floats(0, 1e4),
    )
    def check(exchange: Exchange, first: Exchange, status: int, client: str, path: str, took_s: float) -> None:
        lines.clear()
        identity = replace(exchange.identity, client_ip="192.0.2.1")
        request = exchange.request.with_target(b"/another")
        alike = replace(
            exchange, request_id=first.request_id, upstream_s=first.upstream_s, identity=identity, request=request
        )
        for each in both:
            each.again(each.repeating(alike, status), exchange.request_id.encode(), client, path, took_s)
        through, aside = map(told, lines)
        assert list(through.items()) == list(aside.items())
        assert (exchange.request_id, client, path, round(took_s * 1000, 3)) == (
            aside["request_id"],
            aside["client"],
            aside["path"],
            aside["duration_ms"],
        )

    check()


@pytest.mark.parametrize(("level", "written"), [("debug", True), ("info", True), ("warning", False)])
def test_no_line_is_written_below_the_level_of_the_log(lines: Taken, level: str, written: bool) -> None:
    """As structlog has it: a request is information."""
    assert written == (access_lines(log_as_json(level), level) is not None)
