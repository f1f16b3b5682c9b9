"""A public fake of ``Origin``, for tests of whatever sits above it: scripted, counted, and held at a gate if asked.

It keeps the same contract as ``HttpOrigin`` (one test body runs over both), less the network.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.bodies import NO_FIELDS, BytesBody, PartsBody
from cacheproxy.upstream.contract import OnInterim, Prepared, RequestBody, ResponseBody, Sent
from cacheproxy.upstream.request_head import completed


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One scripted answer. ``parts`` makes a body that arrives in parts, ``body`` one that is complete at once."""

    status: int = 200
    fields: Fields = NO_FIELDS
    body: bytes = b""
    parts: tuple[bytes, ...] | None = None
    breaks_with: UpstreamError | None = None
    """Raised after the last of ``parts``: a body that ends early."""
    trailers: Fields = NO_FIELDS
    interim: tuple[ResponseHead, ...] = ()

    def content(self) -> ResponseBody:
        """A body of its own for one exchange."""
        if self.parts is None:
            return BytesBody(self.body, self.trailers)
        return PartsBody(self.parts, trailers=self.trailers, error=self.breaks_with)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the origin got it."""

    head: RequestHead
    body: bytes


Step = Answer | UpstreamError | Callable[[Received], Answer]
"""What one request meets: an answer, an error raised by ``send``, or an answer made from the request."""

BODYLESS = frozenset({204, 304})
NOT_FOUND = Answer(status=404, body=b"not in the script")


class ScriptedSent:
    """A request that went at once, and what it met."""

    def __init__(self, received: Received, step: Step) -> None:
        """``received`` meets ``step`` once it may ``go``."""
        self.received = received
        self.abandoned = False
        self._step = step
        self._met: Answer | UpstreamError | None = None
        self._tell: Callable[[], None] | None = None

    @property
    def whole(self) -> tuple[ResponseHead, bytes] | None:
        """The answer, if it is complete at once and nothing came before it."""
        met = self._met
        if not isinstance(met, Answer) or met.interim:
            return None
        content = b"" if _is_bodyless(self.received, met) else met.content().complete
        return None if content is None else (ResponseHead(met.status, met.fields), content)

    def when_told(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once the step is met."""
        self._tell = tell

    def abandon(self) -> None:
        """Take note that nobody wants it any more."""
        self.abandoned = True

    def go(self) -> None:
        """Meet the step."""
        try:
            self._met = _play(self._step, self.received)
        except UpstreamError as error:
            self._met = error
        if self._tell is not None:
            self._tell()

    def answer(self) -> Answer:
        """What it met, to go on with. UpstreamError where that is an error, or it was given up."""
        if self.abandoned or self._met is None:
            raise UpstreamError(503, "shut-down", sent=True)
        return _play(self._met, self.received)


class ScriptedOrigin:
    """Answers each target from its own list of steps; the last step of a list is repeated for ever."""

    def __init__(self, script: Mapping[str, Step | list[Step]] | None = None, *, otherwise: Step = NOT_FOUND) -> None:
        """Follow ``script`` (target to step or steps), and ``otherwise`` for targets it does not name."""
        self.at_once = False
        """Whether requests can go at once, by ``begin``."""
        self.received: list[Received] = []
        self._held: list[ScriptedSent] = []
        self.closed = False
        self.connections: dict[str, int] = {}
        """It has none (``upstream.pool.Pool.counts``)."""
        self.gave_way = 0
        self._otherwise = otherwise
        self._steps: dict[bytes, list[Step]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._arrival = asyncio.Event()
        for target, steps in (script or {}).items():
            self.script(target, *(steps if isinstance(steps, list) else [steps]))

    def script(self, target: str, *steps: Step) -> None:
        """Let ``target`` meet ``steps`` from now on."""
        self._steps[target.encode()] = list(steps)

    def hold(self) -> None:
        """Let requests wait at the gate, before they are answered, until ``release``."""
        self._open.clear()

    def release(self) -> None:
        """Open the gate."""
        self._open.set()
        held, self._held = self._held, []
        for sent in held:
            sent.go()

    def count(self, target: str | None = None) -> int:
        """How many requests came, for ``target`` or for all."""
        return sum(1 for r in self.received if target is None or r.head.target == target.encode())

    async def arrived(self, count: int) -> None:
        """Come back when at least ``count`` requests in all have come: a barrier for tests, instead of a sleep."""
        while len(self.received) < count:
            self._arrival.clear()
            await self._arrival.wait()

    async def send(
        self,
        request: RequestHead,
        body: RequestBody | None = None,
        on_interim: OnInterim | None = None,
        begun: Sent | None = None,
    ) -> tuple[ResponseHead, ResponseBody]:
        """The next scripted answer for the request's target; raises the UpstreamError that the script names."""
        if isinstance(begun, ScriptedSent):
            await self._open.wait()
            received, answer = begun.received, begun.answer()
        else:
            content = b"" if body is None else b"".join([chunk async for chunk in body])
            received = Received(request, content)
            self._arrived(received)
            step = self._next_step(request.target)
            await self._open.wait()
            answer = _play(step, received)
        if on_interim is not None:
            for head in answer.interim:
                on_interim(head)
        bodyless = _is_bodyless(received, answer)
        return ResponseHead(answer.status, answer.fields), BytesBody() if bodyless else answer.content()

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> ScriptedSent | None:
        """What is on its way, if requests can go ``at_once``."""
        if not self.at_once:
            return None
        head = _head_of(completed(prepared, fields, content).removesuffix(content))
        sent = ScriptedSent(Received(head, content), self._next_step(head.target))
        self._arrived(sent.received)
        if self._open.is_set():
            asyncio.get_running_loop().call_soon(sent.go)
        else:
            self._held.append(sent)
        return sent

    async def aclose(self) -> None:
        """Note that the origin was closed."""
        self.closed = True

    def _next_step(self, target: bytes) -> Step:
        steps = self._steps.get(target)
        if steps is None:
            return self._otherwise
        return steps.pop(0) if len(steps) > 1 else steps[0]

    def _arrived(self, received: Received) -> None:
        self.received.append(received)
        self._arrival.set()


def _play(step: Step, received: Received) -> Answer:
    if isinstance(step, UpstreamError):
        raise step
    return step if isinstance(step, Answer) else step(received)


def _is_bodyless(received: Received, answer: Answer) -> bool:
    return received.head.method == "HEAD" or answer.status in BODYLESS


def _head_of(raw: bytes) -> RequestHead:
    """The request that ``raw``, which we rendered, asks for."""
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    return RequestHead(
        method=method, target=target.encode("latin-1"), fields=Fields.of(*((name, value) for name, value in pairs))
    )
