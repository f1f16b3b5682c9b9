"""Nothing stale survives a purge, whatever happens in whatever order: over a million steps."""

from model_clocks import ModelClock
from model_steps import drive
from model_world import World


def test_nothing_stale_is_served_in_1_000_000_steps_of_the_model() -> None:
    """In any order, no read breaks the promise; and the reads do hit, so that there is something to break."""
    served = heard = 0
    for seed in range(100):
        world = World(ModelClock())
        drive(world, 10_000, seed)
        served += world.served
        heard += world.heard
    assert served > 100_000
    assert heard > 5_000


def test_nothing_stale_is_served_in_200_000_steps_of_the_real_scripts(real_clock) -> None:
    """The same with the scripts as Valkey runs them."""
    served = 0
    for seed in range(20):
        real_clock.flush()
        real_clock.time_us = 1_000_000
        world = World(real_clock)
        drive(world, 10_000, 100 + seed)
        served += world.served
    assert served > 20_000
