"""The engine and the edge before it: every concrete class on a request's way."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from cacheproxy.admin.metrics import Metrics
from cacheproxy.clock import Clock
from cacheproxy.engine.active import Active
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.batch import Batches
from cacheproxy.engine.batch_fetch import BatchCarrier
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.engine import Engine
from cacheproxy.engine.fill import Filler
from cacheproxy.engine.fill_job import Shared
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.identify import Identifier
from cacheproxy.engine.meanwhile import Meanwhile
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.pass_forwarder import PassForwarder
from cacheproxy.engine.permit import Permits
from cacheproxy.engine.popular import Counters
from cacheproxy.engine.posted import Posted
from cacheproxy.engine.record import AccessLog, Journal, WriteLine
from cacheproxy.engine.recorder import Level
from cacheproxy.engine.replies import Replies
from cacheproxy.engine.tasks import Tasks
from cacheproxy.fills.flight import Flights
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.edge import Edge, EdgeLimits
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.pass_lane import PassLane
from cacheproxy.server.room import most_connections
from cacheproxy.settings import Settings
from cacheproxy.storage.forms import Forms
from cacheproxy.wiring.origin import ReplaceableOrigin
from cacheproxy.wiring.state import State

DRAIN_S = 1.0
"""How long fills and writes behind an answer may go on once requests have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What lies at the ends of a request's way: shared state, the origin, the counters."""

    settings: Settings
    state: State
    origin: ReplaceableOrigin
    metrics: Metrics
    clock: Clock
    degrade: Degrade
    counters: Counters = field(default_factory=Counters)
    write_line: WriteLine | None = None
    """Of the access log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The short ways: what is stored and fresh, and what the cache has no part in."""

    express: ExpressLane
    pass_lane: PassLane


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWay:
    """A request's way, to be served, and changed by a reload."""

    engine: Engine
    edge: Edge
    adapter: Adapter
    lanes: Lanes
    governor: Governor


def lay_way(ends: Ends, active: Active, stack: AsyncExitStack) -> RequestWay:
    """The way from the edge to ``ends`` under the policy ``active``; ``stack`` ends what goes on behind answers."""
    settings, state, clock = ends.settings, ends.state, ends.clock
    loop_id = settings.loop_id.encode()
    side = OriginSide(ends.origin, ends.metrics, clock, loop_id)
    hit_for_miss = HitForMiss(clock)
    carrier = Carrier(
        origin=side,
        store=state.store,
        hit_for_miss=hit_for_miss,
        degrade=ends.degrade,
        recorder=ends.metrics,
        clock=clock,
    )
    governor = Governor(active.policy.events.refill_concurrency)
    flights = _flights(ends, stack)
    filler = _filler(ends, carrier, hit_for_miss, governor, flights)
    forwarder = _forwarder(ends, side, carrier, stack)
    forms = Forms(state.l1)
    stack.push_async_callback(forms.aclose)
    journal = Journal(ends.metrics, clock, AccessLog(settings.access_log), ends.counters, ends.write_line)
    admission = Admission(state.limits.limiter, ends.degrade, ends.metrics, state.limits.in_flight)
    engine = Engine(
        active=active,
        store=state.store,
        replies=Replies(forms, state.l1, journal, clock),
        identifier=Identifier(state.sessions, ends.degrade),
        admission=admission,
        filler=filler,
        forwarder=forwarder,
        batches=_batches(ends, side, admission, forwarder, flights, governor),
        degrade=ends.degrade,
        journal=journal,
        clock=clock,
        prefix=settings.prefix,
        budget_s=settings.redis_budget,
        loop_id=loop_id,
    )
    pass_forwarder = _pass_forwarder(ends, side, forwarder, hit_for_miss, journal)
    lanes = Lanes(
        express=_express(ends, engine, admission, journal), pass_lane=PassLane(pass_forwarder, lambda: engine.active)
    )
    return _with_edge(engine, lanes, governor, journal, settings)


def _flights(ends: Ends, stack: AsyncExitStack) -> "Flights[Shared]":
    flights: Flights[Shared] = Flights()
    stack.push_async_callback(flights.drain, DRAIN_S)
    ends.metrics.watch(Level.FLIGHTS, lambda: float(len(flights)))
    return flights


def _filler(
    ends: Ends, carrier: Carrier, hit_for_miss: HitForMiss, governor: Governor, flights: "Flights[Shared]"
) -> Filler:
    state, clock = ends.state, ends.clock
    meanwhile = Meanwhile(state.store, state.l1, ends.degrade, clock)
    permits = Permits(
        leases=state.leases,
        purger=state.purger,
        meanwhile=meanwhile,
        hit_for_miss=hit_for_miss,
        degrade=ends.degrade,
        recorder=ends.metrics,
        clock=clock,
        heard=state.heard,
    )
    return Filler(
        carrier=carrier,
        permits=permits,
        meanwhile=meanwhile,
        flights=flights,
        governor=governor,
        hit_for_miss=hit_for_miss,
        recorder=ends.metrics,
        clock=clock,
    )


def _batches(
    ends: Ends,
    side: OriginSide,
    admission: Admission,
    forwarder: Forwarder,
    flights: "Flights[Shared]",
    governor: Governor,
) -> Batches:
    store, purger, degrade = ends.state.store, ends.state.purger, ends.degrade
    return Batches(
        carrier=BatchCarrier(
            origin=side, store=store, purger=purger, degrade=degrade, recorder=ends.metrics, clock=ends.clock
        ),
        store=store,
        admission=admission,
        forwarder=forwarder,
        flights=flights,
        governor=governor,
        degrade=degrade,
        recorder=ends.metrics,
        clock=ends.clock,
    )


def _forwarder(ends: Ends, side: OriginSide, carrier: Carrier, stack: AsyncExitStack) -> Forwarder:
    tasks = Tasks()
    stack.push_async_callback(tasks.drain, DRAIN_S)
    posted = Posted(carrier, ends.state.purger, ends.degrade, tasks, ends.clock)
    return Forwarder(side, ends.state.purger, posted, tasks, ends.metrics)


def _pass_forwarder(
    ends: Ends, side: OriginSide, forwarder: Forwarder, hit_for_miss: HitForMiss, journal: Journal
) -> PassForwarder:
    return PassForwarder(
        origin=side,
        forwarder=forwarder,
        shelf=ends.state.l1,
        hit_for_miss=hit_for_miss,
        journal=journal,
        recorder=ends.metrics,
        clock=ends.clock,
    )


def _express(ends: Ends, engine: Engine, admission: Admission, journal: Journal) -> ExpressLane:
    return ExpressLane(
        ends.state.l1,
        Gate(ends.state.sessions, admission, ends.settings.redis_budget),
        journal,
        ends.clock,
        in_force=lambda: engine.active.policy,
        max_bytes=ends.settings.l1_bytes // 4,
    )


def _with_edge(engine: Engine, lanes: Lanes, governor: Governor, journal: Journal, settings: Settings) -> RequestWay:
    adapter = Adapter(engine, settings.listen[1])
    edge = Edge(
        handle=engine.handle,
        read=adapter.read,
        lane=lanes.express,
        pass_lane=lanes.pass_lane,
        trusts=adapter.trusts,
        limits=EdgeLimits(max_connections=most_connections(), message_bytes=settings.websocket_bytes),
        refused=journal.refused,
    )
    return RequestWay(engine=engine, edge=edge, adapter=adapter, lanes=lanes, governor=governor)
