"""A file that is watched: what is told of it, and when."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cacheproxy.wiring import watch
from cacheproxy.wiring.watch import LOOK_AGAIN_S, QUIET_S, contents

Steps = list[tuple[float, Callable[[], object]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file that is watched."""
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"first")
    return file


async def told(file: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is told while in each pause one of the ``steps`` happens, whose length is given with it."""

    class EndError(Exception):
        """All steps are done."""

    async def pause(seconds: float) -> None:
        if not steps:
            raise EndError
        expected, happens = steps.pop(0)
        assert expected == seconds
        happens()

    monkeypatch.setattr(watch, "sleep", pause)
    found, feed = [], contents(file)
    with suppress(EndError):
        while True:
            found.append(await anext(feed))
    return found


def nothing() -> None:
    """Happens."""


async def test_the_first_content_is_told_and_then_each_other_one(file: Path, monkeypatch) -> None:
    """Whether it was written over, or another file put in its place."""
    beside = file.with_suffix(".new")
    beside.write_bytes(b"third")
    steps: Steps = [
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, nothing),
        (LOOK_AGAIN_S, lambda: file.write_bytes(b"the second")),
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, lambda: beside.rename(file)),
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, nothing),
    ]
    assert [b"first", b"the second", b"third"] == await told(file, steps, monkeypatch)


async def test_half_a_file_is_not_told(file: Path, monkeypatch) -> None:
    """It is left alone until it stands still."""
    steps: Steps = [
        (QUIET_S, lambda: file.write_bytes(b"first half")),
        (QUIET_S, lambda: file.write_bytes(b"first half, and the other")),
        (QUIET_S, nothing),
    ]
    assert [b"first half, and the other"] == await told(file, steps, monkeypatch)


async def test_a_file_that_is_gone_is_waited_for(file: Path, monkeypatch) -> None:
    """What is there when it comes back is told if it is another."""
    steps: Steps = [
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, file.unlink),
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, lambda: file.write_bytes(b"first")),
        (QUIET_S, nothing),
        (LOOK_AGAIN_S, lambda: file.write_bytes(b"second")),
        (QUIET_S, nothing),
    ]
    assert [b"first", b"second"] == await told(file, steps, monkeypatch)


async def test_what_cannot_be_read_is_passed_over(file: Path, monkeypatch) -> None:
    """A directory in its place is nothing."""

    def replace() -> None:
        file.unlink()
        file.mkdir()

    steps: Steps = [(QUIET_S, nothing), (LOOK_AGAIN_S, replace), (QUIET_S, nothing), (LOOK_AGAIN_S, nothing)]
    assert [b"first"] == await told(file, steps, monkeypatch)


async def test_a_link_that_leads_elsewhere_is_followed(tmp_path: Path, monkeypatch) -> None:
    """As Kubernetes changes a ConfigMap: the file itself never does."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_bytes(name.encode())
    data, file = tmp_path / "..data", tmp_path / "policy.yaml"
    data.symlink_to("one")
    file.symlink_to("..data/policy.yaml")

    def swap() -> None:
        (tmp_path / "..next").symlink_to("two")
        (tmp_path / "..next").rename(data)

    steps: Steps = [(QUIET_S, nothing), (LOOK_AGAIN_S, swap), (QUIET_S, nothing), (LOOK_AGAIN_S, nothing)]
    assert [b"one", b"two"] == await told(file, steps, monkeypatch)


async def test_what_can_be_read_again_is_told_though_it_did_not_change(file: Path, monkeypatch) -> None:
    """A network file system may fail for a moment."""
    fails: list[bytes | None] = [None, None]
    monkeypatch.setattr(watch, "_content", lambda at: fails.pop() if fails else at.read_bytes())
    steps: Steps = [(QUIET_S, nothing), (LOOK_AGAIN_S, nothing)] * 2 + [(QUIET_S, nothing), (LOOK_AGAIN_S, nothing)]
    assert [b"first"] == await told(file, steps, monkeypatch)


async def test_another_content_is_told_though_length_and_modification_time_are_the_same(
    file: Path, monkeypatch
) -> None:
    """As with what copies in place, and keeps times."""

    def copy_over() -> None:
        before = file.stat()
        file.write_bytes(b"other")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    os.utime(file, ns=(0, 0))
    steps: Steps = [(QUIET_S, nothing), (LOOK_AGAIN_S, copy_over), (QUIET_S, nothing), (LOOK_AGAIN_S, nothing)]
    assert [b"first", b"other"] == await told(file, steps, monkeypatch)
