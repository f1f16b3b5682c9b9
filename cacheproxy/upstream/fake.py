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


class ScriptedOrigin:
    """Answers each target from its own list of steps; the last step of a list is repeated for ever."""

    def __init__(self, script: Mapping[str, Step | list[Step]] | None = None, *, otherwise: Step = NOT_FOUND) -> None:
        """Follow ``script`` (target to step or steps), and ``otherwise`` for targets it does not name."""
        self.received: list[Received] = []
        self.closed = False
        self._otherwise = otherwise
        self._steps: dict[bytes, list[Step]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._arrival = asyncio.Condition()
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

    def count(self, target: str | None = None) -> int:
        """How many requests came, for ``target`` or for all."""
        return sum(1 for r in self.received if target is None or r.head.target == target.encode())

    async def arrived(self, count: int) -> None:
        """Come back when at least ``count`` requests in all have come: a barrier for tests, instead of a sleep."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.received) >= count)

    async def send(
        self,
        request: RequestHead,
        body: RequestBody | None = None,
        on_interim: OnInterim | None = None,
        begun: Sent | None = None,  # noqa: ARG002 - nothing is
    ) -> tuple[ResponseHead, ResponseBody]:
        """The next scripted answer for the request's target; raises the UpstreamError that the script names."""
        content = b"" if body is None else b"".join([chunk async for chunk in body])
        received = Received(request, content)
        async with self._arrival:
            self.received.append(received)
            self._arrival.notify_all()
        step = self._next_step(request.target)
        await self._open.wait()
        answer = self._play(step, received)
        if on_interim is not None:
            for head in answer.interim:
                on_interim(head)
        bodyless = request.method == "HEAD" or answer.status in BODYLESS
        return ResponseHead(answer.status, answer.fields), BytesBody() if bodyless else answer.content()

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> Sent | None:  # noqa: ARG002
        """Never at once."""
        return None

    async def aclose(self) -> None:
        """Note that the origin was closed."""
        self.closed = True

    def _next_step(self, target: bytes) -> Step:
        steps = self._steps.get(target)
        if steps is None:
            return self._otherwise
        return steps.pop(0) if len(steps) > 1 else steps[0]

    @staticmethod
    def _play(step: Step, received: Received) -> Answer:
        if isinstance(step, UpstreamError):
            raise step
        return step if isinstance(step, Answer) else step(received)
