"""Makes the model importable for the tests beside it, and the real clock a fixture."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_clocks import RealClock


@pytest.fixture
def real_clock(valkey: str) -> Iterator[RealClock]:
    """The real scripts on an empty server."""
    with asyncio.Runner() as runner:
        clock = RealClock(valkey, runner)
        yield clock
        clock.close()
