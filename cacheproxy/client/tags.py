"""What may be a tag, and how tags are written into a response's fields. Only the standard library."""

import re

CACHE_TAG = "Cache-Tag"
PURGE_FIELD = "Cacheproxy-Purge"
LONGEST_TAG_BYTES = 256

_UNFIT = re.compile(r"[\s,*?\[\]\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def checked(*tags: str) -> tuple[str, ...]:
    """``tags``, each once. ValueError where there is none, or one that the sidecar would refuse.

    A tag is compared whole, so a pattern would match nothing; ``articles:*`` stands for a beginning of cache keys.
    """
    if not tags:
        raise ValueError("name at least one tag")
    for tag in tags:
        if not tag or tag.startswith("@") or _UNFIT.search(tag.removesuffix(":*")):
            raise ValueError(f"{tag!r} cannot be a tag: it is empty, begins with @, or has spaces, commas or wildcards")
        if len(tag.encode()) > LONGEST_TAG_BYTES:
            raise ValueError(f"{tag[:40]!r}... cannot be a tag: it is longer than {LONGEST_TAG_BYTES} bytes")
    return tuple(dict.fromkeys(tags))


def field_value(present: str | None, tags: tuple[str, ...]) -> str:
    """The value of a field that names ``tags`` after those ``present``, as frameworks want it: bytes as Latin-1."""
    said = ", ".join(tags).encode().decode("latin-1")
    return f"{present}, {said}" if present else said
