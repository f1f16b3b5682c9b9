"""Log lines are written together, in order, and none is lost."""

import asyncio
import io

from cacheproxy.cli.log_lines import LogLines


class Counting(io.StringIO):
    """A stream that counts how often it was written to."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        """One more."""
        self.writes += 1
        return super().write(text)


async def test_lines_of_one_turn_are_one_write():
    """However many there are; those of the next turn are another."""
    stream = Counting()
    lines = LogLines(stream)
    for number in range(100):
        lines.info(str(number))
    await asyncio.sleep(0)
    lines.warning("last")
    await asyncio.sleep(0)
    assert stream.getvalue().splitlines() == [*map(str, range(100)), "last"]
    assert stream.writes == 2


def test_without_a_loop_each_line_is_written_at_once():
    """As before the loop runs, and after it has ended."""
    stream = Counting()
    lines = LogLines(stream)
    lines.error("one")
    assert stream.getvalue() == "one\n"


def test_what_the_loop_left_is_not_lost():
    """A line of its last turn is written when somebody flushes: at exit, at the latest."""
    stream = Counting()
    lines = LogLines(stream)

    async def last_turn() -> None:
        lines.info("end")
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    loop.create_task(last_turn())  # noqa: RUF006 - it ends with the loop
    loop.run_forever()
    loop.close()
    lines.flush()
    assert stream.getvalue() == "end\n"
