"""What a service loads when it imports the client."""

import subprocess
import sys

LOADS = """
import sys, redis, redis.asyncio
before = set(sys.modules)
import cacheproxy.client
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
ours = {name for name in sys.modules if name.startswith("cacheproxy.") and not name.startswith("cacheproxy.client")}
print(*sorted(roots - set(sys.stdlib_module_names) - {"cacheproxy"}), *sorted(ours))
"""


def test_the_client_needs_nothing_but_redis():
    """Beside redis and the standard library nothing is imported, and nothing of the sidecar itself."""
    ran = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
