"""What a request and a response say before their body."""

from dataclasses import dataclass, field
from typing import NamedTuple

from cacheproxy.semantics.fields import Fields


class RequestHead(NamedTuple):
    """A request head as received: ``target`` is the raw ``path?query`` (origin-form), never decoded.

    A tuple, as some are made for each request.
    """

    method: str
    target: bytes
    fields: Fields = Fields()
    authority: bytes = b""
    scheme: str = "http"
    http_version: str = "1.1"

    def with_fields(self, fields: Fields) -> "RequestHead":
        """The same request with other fields."""
        return RequestHead(self.method, self.target, fields, self.authority, self.scheme, self.http_version)

    def with_target(self, target: bytes) -> "RequestHead":
        """The same request for another target."""
        return RequestHead(self.method, target, self.fields, self.authority, self.scheme, self.http_version)

    @property
    def path(self) -> bytes:
        """The raw path, without the query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The raw query after the first ``?``, or empty."""
        return self.target.partition(b"?")[2]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final or interim response head."""

    status: int
    fields: Fields = field(default_factory=Fields)
