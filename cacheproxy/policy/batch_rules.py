"""What a route's ``batch`` comes to."""

from dataclasses import dataclass
from enum import StrEnum

from cacheproxy.policy.paths import PathPattern


class Absent(StrEnum):
    """What stands for an id that the origin does not know: nothing, or ``null`` in its place."""

    OMIT = "omit"
    NULL = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """How a request for many is taken apart: each id in ``param`` is a request for ``path`` under ``route``."""

    param: str
    route: str
    """The name of the route for one."""
    own: tuple[PathPattern, ...]
    """The paths of requests for many."""
    path: PathPattern
    """The path of a request for one."""
    id_name: str
    """What ``path`` captures the id by; its other names are captured by the path of the batch."""
    resource: str = ""
    """The first word of the keys of single entries."""
    id_field: str = "id"
    """Where an element of the array has its id."""
    absent: Absent = Absent.OMIT
    max_ids: int = 100
