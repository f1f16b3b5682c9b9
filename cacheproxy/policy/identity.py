"""Who is asking, as far as the policy may look."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The client's address (canonical text), its session's fields if it has one, and its tenant if known."""

    client_ip: str = ""
    session_id: str | None = None
    session: Mapping[str, object] = field(default_factory=dict)
    tenant: str | None = None
