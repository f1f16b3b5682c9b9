"""What a request and a response say before their body."""

from dataclasses import dataclass, field

from cacheproxy.semantics.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request head as received: ``target`` is the raw ``path?query`` (origin-form), never decoded."""

    method: str
    target: bytes
    fields: Fields = field(default_factory=Fields)
    authority: bytes = b""
    scheme: str = "http"
    http_version: str = "1.1"

    def with_fields(self, fields: Fields) -> "RequestHead":
        """The same request with other fields."""
        return RequestHead(
            method=self.method,
            target=self.target,
            fields=fields,
            authority=self.authority,
            scheme=self.scheme,
            http_version=self.http_version,
        )

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
