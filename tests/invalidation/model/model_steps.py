"""The model driven at random: many steps, cheaply, from a seed."""

import random
from collections.abc import Callable

from model_world import KEYS, REPLICAS, World

from cacheproxy.invalidation.contract import PurgeMode

Step = Callable[[World, random.Random], None]

_MODES = (PurgeMode.HARD, PurgeMode.HARD, PurgeMode.SOFT)


def _pick(rng: random.Random) -> int:
    return rng.randrange(REPLICAS)


STEPS: dict[Step, int] = {
    lambda w, r: w.begin_fill(_pick(r), r.choice(KEYS)): 240,
    lambda w, r: w.begin_heard(_pick(r), r.choice(KEYS)): 40,
    lambda w, r: w.fetch(r.randrange(8)): 300,
    lambda w, r: w.store(r.randrange(8)): 240,
    lambda w, r: w.change(r.choice(KEYS), r.choice(_MODES), whole=r.random() < 0.3): 32,
    lambda w, r: w.change(r.choice(KEYS), r.choice(_MODES), whole=r.random() < 0.3, by=_pick(r)): 8,
    lambda w, r: w.purge_all(r.choice(_MODES)): 2,
    lambda w, r: w.subscribe(_pick(r)): 120,
    lambda w, r: w.first_beat(_pick(r)): 120,
    lambda w, r: w.catch_up(_pick(r)): 120,
    lambda w, r: w.deliver(_pick(r)): 600,
    lambda w, r: w.beat(_pick(r)): 60,
    lambda w, r: w.disconnect(_pick(r)): 3,
    lambda w, r: w.lose(_pick(r)): 3,
    lambda w, r: w.restart(_pick(r)): 2,
    lambda w, _: w.evict_clock(): 1,
    lambda w, r: w.trim_stream(r.randrange(4)): 3,
    lambda w, r: w.flush() if r.random() < 0.3 else w.evict_entry(r.choice(KEYS)): 2,
    lambda w, r: w.jump(r.choice((-1_000_000, -50, 50, 2_000))): 3,
    lambda w, r: w.wait(r.choice((0.5, 1.0, 5.0, 15.0))): 60,
    lambda w, r: w.read_l2(_pick(r), r.choice(KEYS)): 300,
    lambda w, r: w.promote(r.randrange(8)): 200,
    lambda w, r: w.read_l1(_pick(r), r.choice(KEYS)): 600,
}


def drive(world: World, steps: int, seed: int) -> None:
    """Take ``steps`` steps at random."""
    rng = random.Random(seed)
    for step in rng.choices(list(STEPS), list(STEPS.values()), k=steps):
        step(world, rng)
