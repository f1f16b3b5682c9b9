"""Tasks that outlive whoever began them."""

import asyncio

import pytest

from cacheproxy.engine.tasks import Tasks


async def test_what_is_started_can_be_awaited() -> None:
    """Its result, or its error, is the awaiter's."""
    tasks = Tasks()

    async def fail() -> None:
        raise ValueError("told")

    assert "x" == await tasks.start(asyncio.sleep(0, "x"))
    with pytest.raises(ValueError, match="told"):
        await tasks.start(fail())


async def test_draining_lets_work_end() -> None:
    """What runs may finish within the time given."""
    tasks, gate = Tasks(), asyncio.Event()
    task = tasks.start(gate.wait())
    draining = asyncio.create_task(tasks.drain(60))
    await asyncio.sleep(0)
    gate.set()
    await draining
    assert task.result() is True


async def test_draining_ends_what_does_not_end() -> None:
    """After its time it is cancelled, and gone when the draining is over."""
    tasks = Tasks()
    task = tasks.start(asyncio.Event().wait())
    await tasks.drain(0)
    assert task.cancelled()
    await tasks.drain(0)
