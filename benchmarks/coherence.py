"""How fast and how far a purge, a lease and an event go: three sidecars and one Valkey, as separate processes.

``python benchmarks/coherence.py [purge|tag|herd|events ...]``, or ``make bench-coherence`` for all of them.
"""

import sys
import tempfile
from pathlib import Path

import uvloop
from coherence_crowds import events, herd
from coherence_purges import purge, tag
from coherence_site import Row, running

from cacheproxy.redis_link.embedded import start_embedded

STEPS = {"purge": purge, "tag": tag, "herd": herd, "events": events}


async def _measure(redis: str, directory: Path, steps: list[str]) -> list[Row]:
    async with running(redis, directory) as site:
        return [row for step in steps for row in await STEPS[step](site)]


def main() -> int:
    """Print each figure beside its aim. 0 if all are met."""
    steps = sys.argv[1:] or list(STEPS)
    server = start_embedded(maxmemory="2gb")
    try:
        with tempfile.TemporaryDirectory() as directory:
            rows = uvloop.run(_measure(server.url, Path(directory), steps))
    finally:
        server.close()
    for row in rows:
        print(f"{'  ' if row.met else '! '}{row.what:<82} {row.figure:<48} {row.aim and f'(aim: {row.aim})'}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
