"""Which content coding answers a request, and what a coded form is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.coding import (
    coded_fields,
    coding_for,
    is_coded,
    may_encode,
    negotiated_fields,
    preferred,
)
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import Coding, EncodeRules

OURS = (Coding.ZSTD, Coding.BR, Coding.GZIP)
RULES = EncodeRules()
JSON = ("content-type", "application/json")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        pytest.param(None, None, id="12.5.3-absent-is-often-a-client-that-reads-none"),
        pytest.param(b"", None, id="12.5.3-empty-means-identity"),
        pytest.param(b"identity", None, id="12.5.3-identity-alone"),
        pytest.param(b"gzip", "gzip", id="12.5.3-named"),
        pytest.param(b"x-gzip", "gzip", id="8.4.1.3-x-gzip-is-gzip"),
        pytest.param(b"GZip", "gzip", id="8.4.1-case-means-nothing"),
        pytest.param(b"gzip, deflate, br, zstd", "zstd", id="equals-are-ours-to-choose"),
        pytest.param(b"gzip, br", "br", id="equals-are-ours-to-choose-among-those-named"),
        pytest.param(b"zstd;q=0.5, gzip;q=0.8", "gzip", id="12.4.2-the-heaviest"),
        pytest.param(b"gzip;q=0", None, id="12.4.2-zero-is-refused"),
        pytest.param(b"gzip;q=0.000, br", "br", id="12.4.2-zero-in-thousandths"),
        pytest.param(b"gzip;q=0.001", "gzip", id="12.4.2-a-thousandth-is-accepted"),
        pytest.param(b"*", "zstd", id="12.5.3-wildcard"),
        pytest.param(b"*;q=0", None, id="12.5.3-wildcard-refused"),
        pytest.param(b"*;q=0, gzip", "gzip", id="12.5.3-named-beats-the-wildcard"),
        pytest.param(b"*, zstd;q=0", "br", id="12.5.3-refused-by-name"),
        pytest.param(b"identity;q=0", None, id="12.5.3-nothing-left-so-without-a-coding"),
        pytest.param(b"identity;q=0, *", "zstd", id="12.5.3-anything-but-identity"),
        pytest.param(b"identity, gzip;q=0.5", None, id="12.5.3-identity-liked-better"),
        pytest.param(b"identity;q=0.5, gzip;q=0.5", "gzip", id="12.5.3-identity-liked-no-better"),
        pytest.param(b"gzip;q=0.1, br;q=0.1, zstd;q=0.1, *;q=0.5", None, id="12.5.3-wildcard-covers-identity"),
        pytest.param(b"gzip;q=0, gzip", None, id="said-twice-the-refusal-counts"),
        pytest.param(b"deflate, compress", None, id="none-that-we-speak"),
        pytest.param(b"gzip;q=nonsense", "gzip", id="an-unreadable-weight-says-nothing"),
        pytest.param(b",,gzip ; q = 0.3,", "gzip", id="5.6.1-empty-members"),
    ],
)
def test_the_coding_a_client_likes_best(accepted: bytes | None, coding: str | None) -> None:
    """Accept-Encoding with its weights, ``*`` and ``identity`` (RFC 9110 §12.5.3)."""
    assert coding == preferred(accepted, OURS)


CODINGS = st.sampled_from([b"zstd", b"br", b"gzip", b"identity", b"*", b"deflate"])
WEIGHTS = st.sampled_from([b"", b";q=0", b";q=0.2", b";q=0.5", b";q=1"])


@given(st.lists(st.tuples(CODINGS, WEIGHTS), unique_by=lambda each: each[0]), st.permutations(OURS))
def test_no_client_gets_what_it_refuses(accepted: list[tuple[bytes, bytes]], offered: list[Coding]) -> None:
    """What is chosen is named with a weight above 0, or covered by a wildcard that is."""
    chosen = preferred(b", ".join(coding + weight for coding, weight in accepted), offered)
    if chosen is not None:
        weights = dict(accepted)
        assert chosen in offered
        assert weights.get(chosen.encode(), weights.get(b"*", b";q=0")) != b";q=0"


@given(st.binary(max_size=300))
def test_any_bytes_are_an_accept_encoding(accepted: bytes) -> None:
    """Nonsense is no error, and chooses nothing that is not offered."""
    assert preferred(accepted, OURS) in {*OURS, None}


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([("range", "bytes=0-9")], id="ranges-are-the-identitys"),
        pytest.param([("cache-control", "no-transform")], id="9111-5.2.1.6"),
        pytest.param([], id="nothing-said"),
    ],
)
def test_who_gets_the_identity(lines: list[tuple[str, str]]) -> None:
    """A range, no-transform and silence are answered without a coding, whatever else is accepted."""
    assert coding_for(Fields.of(*lines, *([("accept-encoding", "gzip")] if lines else [])), OURS) is None
    assert coding_for(Fields.of(("accept-encoding", "br"), ("accept-encoding", "gzip")), OURS) == "br"


@pytest.mark.parametrize(
    ("value", "coded"), [("gzip", True), ("Identity", False), ("", False), ("identity, br", True), ("unknown", True)]
)
def test_what_has_a_coding(value: str, coded: bool) -> None:
    """Anything in Content-Encoding but ``identity`` is a coding, known or not."""
    assert is_coded(Fields.of(("content-encoding", value))) is coded
    assert not is_coded(Fields.of(JSON))


@pytest.mark.parametrize(
    "media_type",
    ["text/html; charset=utf-8", "TEXT/CSS", "application/json", "application/problem+json", "image/svg+xml"],
)
def test_what_shrinks_may_be_encoded(media_type: str) -> None:
    """Text, and structured formats by their suffix."""
    assert may_encode(200, Fields.of(("content-type", media_type)), 2000, RULES)
    assert may_encode(404, Fields.of(("content-type", media_type)), 2000, RULES)


@pytest.mark.parametrize(
    ("status", "lines", "body_bytes"),
    [
        pytest.param(200, [JSON], 1024, id="at-the-bound"),
        pytest.param(206, [JSON], 2000, id="a-part"),
        pytest.param(200, [JSON, ("content-encoding", "gzip")], 2000, id="coded-already"),
        pytest.param(200, [JSON, ("cache-control", "max-age=9, no-transform")], 2000, id="9111-5.2.2.6"),
        pytest.param(200, [JSON, ("repr-digest", "sha-256=:x:")], 2000, id="9530-digest-of-the-bytes"),
        pytest.param(200, [("content-type", "image/png")], 2000, id="compressed-by-nature"),
        pytest.param(200, [], 2000, id="of-no-type"),
        pytest.param(200, [JSON, JSON], 2000, id="of-two-types"),
    ],
)
def test_what_is_never_encoded(status: int, lines: list[tuple[str, str]], body_bytes: int) -> None:
    """Small, partial, coded, digested, incompressible, and what the origin says is to stay as it is."""
    assert not may_encode(status, Fields.of(*lines), body_bytes, RULES)


@pytest.mark.parametrize(
    ("types", "media_type", "encoded"),
    [
        ({b"application/pdf"}, "application/pdf", True),
        ({b"application/pdf"}, "application/json", False),
        ({b"image/*"}, "image/bmp", True),
    ],
)
def test_types_of_a_policy_are_all_there_are(types: set[bytes], media_type: str, encoded: bool) -> None:
    """Where the policy lists media types, or trees of them, no other is encoded."""
    rules = EncodeRules(types=frozenset(types))
    assert may_encode(200, Fields.of(("content-type", media_type)), 2000, rules) is encoded


@pytest.mark.parametrize(
    ("vary", "becomes"),
    [
        ([], ["Accept-Encoding"]),
        ([""], ["Accept-Encoding"]),
        (["Origin"], ["Origin, Accept-Encoding"]),
        (["Origin", "Cookie"], ["Origin, Cookie, Accept-Encoding"]),
        (["accept-encoding"], ["accept-encoding"]),
        (["*"], ["*"]),
    ],
)
def test_vary_names_accept_encoding(vary: list[str], becomes: list[str]) -> None:
    """Once, beside what the origin names (RFC 9110 §12.5.5)."""
    fields = negotiated_fields(Fields.of(*(("vary", each) for each in vary)))
    assert [value.encode() for value in becomes] == fields.all(b"vary")


@pytest.mark.parametrize(("etag", "becomes"), [('"1"', b'W/"1"'), ('W/"1"', b'W/"1"')])
def test_a_coded_form_has_a_weak_entity_tag(etag: str, becomes: bytes) -> None:
    """The same tag, weak: If-None-Match matches it, If-Range and If-Match do not (RFC 9110 §8.8.3.3)."""
    coded = coded_fields(Fields.of(JSON, ("etag", etag), ("content-length", "9")), Coding.BR)
    assert [becomes] == coded.all(b"etag")
    assert [b"br"] == coded.all(b"content-encoding")
    assert b"content-length" not in coded


def test_a_coded_form_without_an_entity_tag_gets_none() -> None:
    """What the origin has not validated is not ours to name."""
    assert b"etag" not in coded_fields(Fields.of(JSON), Coding.GZIP)
