"""The admin port of several workers: their readiness, metrics and statistics as one; all else by asking one or all.

Who may ask what is for the workers to say: a request goes on with the fields that ``admin.access`` judges by, and a
refusal comes back as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from cacheproxy.admin.http import body_of, problem
from cacheproxy.admin.members import LONGEST_S, OF_A_HOP, Answers, Members
from cacheproxy.admin.metrics import CONTENT_TYPE
from cacheproxy.admin.stats import summary
from cacheproxy.admin.summed import Ledger, rendered, restored
from cacheproxy.errors import ClientError

PROBE_S = 0.8
"""How long a worker may take to say whether it is ready: probes themselves wait for a second."""
EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
REFUSALS = frozenset({401, 403, 421})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers, and what is true of all of them."""

    name: str
    members: Members
    draining: Callable[[], bool]
    ledger: Ledger = field(default_factory=Ledger)


def fleet_app(fleet: Fleet) -> ASGIApp:
    """The ASGI application of the supervisor's admin port."""
    api = _Api(fleet)
    return Starlette(
        routes=[
            Route("/livez", api.livez),
            Route("/readyz", api.readyz),
            Route("/healthz", api.readyz),
            Route("/metrics", api.metrics),
            Route("/api/v1/stats", api.stats),
            Route("/api/v1/reload", api.on_all, methods=["POST"]),
            Route("/api/v1/warm", api.on_all, methods=["POST"]),
            Route("/{rest:path}", api.on_one, methods=EVERY_METHOD),
        ],
        exception_handlers={ClientError: _on_client_error},
    )


class _Api:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def livez(self, _request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        answers = await self._fleet.members.each(request, within_s=PROBE_S)
        refused = _refusal(answers)
        if refused is not None:
            return refused
        workers = {name: "ready" if _is_good(answer) else "not ready" for name, answer in answers.items()}
        ready = not self._fleet.draining() and set(workers.values()) == {"ready"}
        parts = {**_agreed(_parts(answer) for answer in answers.values()), **workers}
        return JSONResponse({"status": "ready" if ready else "not ready", "parts": parts}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        refused = await self._count(request)
        if refused is not None:
            return refused
        families = [*self._fleet.ledger.families(), *_of_workers(self._fleet.members)]
        return Response(rendered(families), headers={"content-type": CONTENT_TYPE})

    async def stats(self, request: Request) -> Response:
        """One worker's words with everybody's numbers."""
        refused = await self._count(request)
        if refused is not None:
            return refused
        answers = await self._fleet.members.each(request)
        said = [answer for answer in answers.values() if answer is not None and answer.is_success]
        words = said[0].json() if said else {}
        starts = {member.name: member.starts() for member in self._fleet.members.all}
        numbers = summary(restored(self._fleet.ledger.families()))
        return JSONResponse({**words, **numbers, "replica": self._fleet.name, "workers": starts})

    async def on_one(self, request: Request) -> Response:
        """Whoever does it: a purge by one worker reaches the others, and the keys are everybody's."""
        answer = await self._fleet.members.one(request, await body_of(request))
        return _nobody() if answer is None else _streamed(answer)

    async def on_all(self, request: Request) -> Response:
        """The first failure, or else the first answer."""
        answers = await self._fleet.members.each(request, body=await body_of(request), within_s=LONGEST_S)
        given = [answer for answer in answers.values() if answer is not None]
        failed = [answer for answer in given if not answer.is_success]
        return _passed_on([*failed, *given][0]) if given else _nobody()

    async def _count(self, request: Request) -> Response | None:
        """Bring the ledger up to date; the refusal, where the asker may not know, or that cannot be told."""
        answers = await self._fleet.members.each(request, path="/metrics")
        for member in self._fleet.members.all:
            answer = answers[member.name]
            if answer is not None and answer.is_success:
                self._fleet.ledger.take(member.name, member.starts(), answer.text)
            else:
                self._fleet.ledger.miss(member.name)
        # Where nobody answers, nobody says whether the asker may know.
        return _refusal(answers) or (None if any(map(_is_good, answers.values())) else _nobody())


def _of_workers(members: Members) -> list[Metric]:
    running = sum(member.alive() for member in members.all)
    again = sum(max(0, member.starts() - 1) for member in members.all)
    return [
        GaugeMetricFamily("cacheproxy_workers", "Worker processes that run.", running),
        CounterMetricFamily("cacheproxy_worker_restarts", "Workers started in place of one that died.", again),
    ]


def _is_good(answer: httpx.Response | None) -> bool:
    return answer is not None and answer.is_success


def _refusal(answers: Answers) -> Response | None:
    refused = (answer for answer in answers.values() if answer is not None and answer.status_code in REFUSALS)
    answer = next(refused, None)
    return None if answer is None else _passed_on(answer)


def _passed_on(answer: httpx.Response) -> Response:
    fields = _fields(answer)
    fields.pop("content-encoding", None)  # httpx has undone it
    return Response(answer.content, answer.status_code, fields)


def _streamed(answer: httpx.Response) -> Response:
    close = BackgroundTask(answer.aclose)
    return StreamingResponse(answer.aiter_raw(), answer.status_code, _fields(answer), background=close)


def _fields(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OF_A_HOP}


def _parts(answer: httpx.Response | None) -> Mapping[str, str]:
    return {} if answer is None else dict(answer.json().get("parts", {}))


def _agreed(told: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The state of each part: one word where the workers agree, all their words where they do not."""
    states: dict[str, dict[str, None]] = {}
    for parts in told:
        for name, state in parts.items():
            states.setdefault(name, {})[state] = None
    return {name: ", ".join(words) for name, words in states.items()}


def _nobody() -> Response:
    return problem(503, "no-worker", "no worker answers: they are being started, or the sidecar is stopping")


async def _on_client_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ClientError)
    return problem(error.status, error.reason, error.detail)
