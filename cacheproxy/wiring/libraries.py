"""What a policy asks for that needs a library which is not installed, and what stands in for it."""

from collections.abc import Iterator, Sequence

from cacheproxy.errors import Fault
from cacheproxy.policy.route import Policy
from cacheproxy.semantics.rules import Coding
from cacheproxy.storage.compression import installed

_REMEDY = "pip install 'cacheproxy[compress]'"


def missing_libraries(policy: Policy) -> Iterator[Fault]:
    """A caution for each route that wants a coding which cannot be made here: it does without."""
    for at, route in enumerate(policy.routes):
        rules = route.cache
        if rules is not None and rules.compress is not None and not installed((rules.compress.coding,)):
            message = f"`{rules.compress.coding}` needs a library: {_REMEDY}; until then `{Coding.DEFLATE}` stands in"
            yield Fault(message, f"routes[{at}].cache.compress")
        if rules is not None and rules.encode is not None:
            codings = rules.encode.codings
            here = installed(codings)
            if len(here) < len(codings):
                yield Fault(_missing_for_clients(codings, here), f"routes[{at}].cache.encode")


def _missing_for_clients(wanted: Sequence[Coding], here: Sequence[Coding]) -> str:
    missing = " and ".join(f"`{coding}`" for coding in wanted if coding not in here)
    stand_in = f"until then clients are offered {' and '.join(f'`{coding}`' for coding in here) or 'none'}"
    return f"{missing} {'needs a library' if len(wanted) == len(here) + 1 else 'need libraries'}: {_REMEDY}; {stand_in}"
