"""Content codings: which one a client likes best, and what its form is called (RFC 9110 §8.4, §12.5.3)."""

from collections.abc import Mapping, Sequence

from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.memo import memoised
from cacheproxy.semantics.preferences import weighted
from cacheproxy.semantics.rules import Coding, EncodeRules
from cacheproxy.semantics.vary import vary_names

_COMPRESSIBLE = frozenset({
    b"application/javascript", b"application/json", b"application/manifest+json", b"application/sql",
    b"application/toml", b"application/vnd.ms-fontobject", b"application/wasm", b"application/x-javascript",
    b"application/x-ndjson", b"application/xml", b"application/yaml", b"font/otf", b"font/ttf", b"image/bmp",
    b"image/svg+xml", b"image/x-icon",
})  # fmt: skip
_COMPRESSIBLE_SUFFIXES = (b"+json", b"+xml", b"+yaml")

_ABOUT_THE_BYTES = frozenset({b"content-digest", b"content-md5", b"digest", b"repr-digest", b"signature"})
"""Fields that would be wrong of a coded form (RFC 9530 §2, §3), and that we cannot make anew."""


def is_coded(fields: Fields) -> bool:
    """Whether the content of a response has a coding; ``identity`` says that it has none."""
    given = fields.combined(b"content-encoding")
    return given is not None and given.strip(b" \t").lower() not in {b"", b"identity"}


def preferred(accepted: bytes | None, offered: Sequence[Coding]) -> Coding | None:
    """The coding among ``offered`` (ours best first) that Accept-Encoding likes best; None for the identity.

    A request without the field would take any (RFC 9110 §12.5.3), but is often of a client that can read none.
    """
    if not accepted:
        return None
    weights = _weights(accepted)
    others = weights.get(b"*", 0)
    least = max(1, weights.get(b"identity", others))
    liked = {coding: weights.get(coding.encode(), others) for coding in offered}
    best = max(liked, key=lambda coding: liked[coding], default=None)
    return best if best is not None and liked[best] >= least else None


def may_encode(status: int, fields: Fields, body_bytes: int, rules: EncodeRules) -> bool:
    """Whether a stored response may be given out in another coding than the origin chose."""
    if body_bytes <= rules.above_bytes or status == 206 or is_coded(fields):
        return False
    if not _is_of(rules.types, fields) or any(name in _ABOUT_THE_BYTES for name, _ in fields):
        return False
    return not CacheControl.effective(fields).no_transform


def coding_for(request: Fields, offered: Sequence[Coding]) -> Coding | None:
    """The coding in which to answer ``request``; None for the identity.

    Ranges are those of the identity, whose validator is strong: parts of two forms never meet (RFC 9110 §14.2). And
    ``no-transform`` in a request is obeyed (RFC 9111 §5.2.1.6).
    """
    if b"range" in request or (b"cache-control" in request and CacheControl.of(request).no_transform):
        return None
    return preferred(request.combined(b"accept-encoding"), offered)


def negotiated_fields(fields: Fields) -> Fields:
    """``fields`` with a Vary that names Accept-Encoding: those of a response that has other forms (§12.5.5)."""
    names = vary_names(fields)
    if names is None or b"accept-encoding" in names:
        return fields
    given = fields.all(b"vary") if names else []
    return fields.replaced(b"vary", b", ".join((*given, b"Accept-Encoding")))


def coded_fields(fields: Fields, coding: Coding) -> Fields:
    """The fields of the form in ``coding``. Its entity tag is weak: equivalent, and not the same bytes (§8.8.3.3)."""
    etag = fields.get(b"etag")
    coded = negotiated_fields(fields).without((b"content-length", b"content-encoding"))
    if etag is not None and not etag.startswith(b"W/"):
        coded = coded.replaced(b"etag", b"W/" + etag)
    return coded.plus((b"content-encoding", coding.encode()))


@memoised(maxsize=1024)
def _weights(accepted: bytes) -> Mapping[bytes, int]:
    """Each coding's weight in thousandths; the least, where it is named more than once."""
    weights: dict[bytes, int] = {}
    for coding, weight in weighted(accepted):
        weights[coding] = min(weight, weights.get(coding, 1000))
    return weights


def _is_of(types: frozenset[bytes], fields: Fields) -> bool:
    """Whether the media type is one of ``types``, or where those are empty, one that shrinks."""
    given = fields.all(b"content-type")
    media_type = given[0].partition(b";")[0].strip(b" \t").lower() if len(given) == 1 else b""
    tree = media_type.partition(b"/")[0] + b"/*"
    if types:
        return media_type in types or tree in types
    return tree == b"text/*" or media_type in _COMPRESSIBLE or media_type.endswith(_COMPRESSIBLE_SUFFIXES)
