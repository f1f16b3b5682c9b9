"""The demo's processes start, are watched, and end."""

import asyncio

import pytest

from cacheproxy.demo.children import DemoError, answers, running

SERVER = ["http.server", "--bind", "127.0.0.1"]


async def test_a_running_child_answers_and_is_gone_afterwards(tmp_path, free_port):
    """Within the context it serves; after it, nobody does."""
    async with running("server", [*SERVER, str(free_port)], {}, tmp_path / "log"):
        await answers(f"http://127.0.0.1:{free_port}/")
    with pytest.raises(ConnectionRefusedError):
        await _connect(free_port)


async def test_a_child_that_dies_ends_the_context_and_says_why(tmp_path):
    """Its status and the last lines of its output are in the error."""
    with pytest.raises(ExceptionGroup) as group:
        async with running("thing", ["no_such_module"], {}, tmp_path / "log"):
            await _forever()
    assert group.group_contains(DemoError, match="the thing ended with status 1:\n.*No module named no_such_module")


async def test_the_environment_reaches_the_child(tmp_path):
    """What is given is added to our own environment."""
    (tmp_path / "told.py").write_text("import os, sys; sys.exit(os.environ['TOLD'])")
    environment = {"TOLD": "so it is", "PYTHONPATH": str(tmp_path)}
    with pytest.raises(ExceptionGroup) as group:
        async with running("thing", ["told"], environment, tmp_path / "log"):
            await _forever()
    assert group.group_contains(DemoError, match="so it is")


async def test_patience_has_an_end(monkeypatch, free_port):
    """A part that never answers is an error, not a hang."""
    monkeypatch.setattr("cacheproxy.demo.children.READY_S", 0.1)
    with pytest.raises(DemoError, match="did not answer"):
        await answers(f"http://127.0.0.1:{free_port}/")


async def _connect(port: int) -> None:
    await asyncio.open_connection("127.0.0.1", port)


async def _forever() -> None:
    await asyncio.Event().wait()
