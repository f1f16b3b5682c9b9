"""The stored form: exact both ways, readable by others, and refused as soon as one bit is wrong."""

import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from random import Random
from zlib import crc32

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import Coding, CompressRules
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage import compression
from cacheproxy.storage.codec import Corrupt, CorruptReason, pack, unpack
from cacheproxy.storage.contract import Entry

AT_REST_CODINGS = [Coding.DEFLATE, Coding.GZIP, Coding.ZSTD]
TIMES = st.floats(min_value=0, max_value=4e9)
LATIN = st.binary(max_size=20)
VALUES = st.lists(st.sampled_from([*range(0x20, 0x7F), 9, *range(0x80, 0x100)]), max_size=20).map(bytes)
NAMES = st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
ENTRIES = st.builds(
    Entry,
    key=st.text(min_size=1),
    vary=st.lists(NAMES, max_size=2).map(tuple),
    variance=LATIN,
    status=st.integers(200, 599),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=5).map(Fields),
    body=st.binary(max_size=200),
    requested_at=TIMES,
    received_at=TIMES,
    lifetime_s=TIMES,
    initial_age_s=TIMES,
    swr_s=TIMES,
    sie_s=TIMES,
    must_revalidate=st.booleans(),
    keep_until=TIMES,
    stamp=st.builds(Stamp, st.text(), st.integers(0, 2**63)),
    tags=st.lists(st.text(), max_size=3).map(tuple),
    route=st.text(),
)


@given(ENTRIES)
def test_what_was_packed_is_unpacked(entry: Entry) -> None:
    """Every entry comes back equal in every part, whatever its text and bytes."""
    assert unpack(pack(entry)) == entry


def test_every_flipped_bit_is_refused(entry: Callable[..., Entry]) -> None:
    """Each single bit changed, in each byte of a value, is refused: a miss, never a wrong body."""
    packed = pack(entry(body=b'{"id": 7}'))
    for at in range(len(packed)):
        for bit in range(8):
            changed = bytearray(packed)
            changed[at] ^= 1 << bit
            assert isinstance(unpack(bytes(changed)), Corrupt), (at, bit)


def test_every_cut_value_is_refused(entry: Callable[..., Entry]) -> None:
    """A value cut short anywhere, or with bytes after its end, is refused."""
    packed = pack(entry())
    for length in range(len(packed)):
        assert isinstance(unpack(packed[:length]), Corrupt), length
    assert unpack(packed + b"\n") == Corrupt(CorruptReason.CHECKSUM)


@given(st.binary())
def test_foreign_bytes_are_refused(packed: bytes) -> None:
    """Somebody else's value under our key is a miss."""
    assert isinstance(unpack(packed), Corrupt)


@pytest.mark.parametrize("version", [b"0", b"3", b"10", b"-1", b"x", b""])
def test_other_versions_are_refused(entry: Callable[..., Entry], version: bytes) -> None:
    """A value of an older or newer format is told apart from a broken one."""
    packed = pack(entry()).replace(b"cacheproxy 1 ", b"cacheproxy %b " % version)
    assert unpack(packed) == Corrupt(CorruptReason.VERSION)


def above(size_bytes: int) -> CompressRules:
    """Compression of larger bodies."""
    return CompressRules(above_bytes=size_bytes)


def test_a_large_body_is_compressed(entry: Callable[..., Entry]) -> None:
    """Above the bound, and not at it; what comes back is the same."""
    kept = entry(body=b"1234567890" * 100)
    assert pack(kept, above(1000)) == pack(kept)
    small = pack(kept, above(999))
    assert small.startswith(b"cacheproxy 2 ")
    assert len(small) < 500 < len(pack(kept))
    assert unpack(small) == kept


def test_what_does_not_shrink_is_left_as_it_is(entry: Callable[..., Entry]) -> None:
    """Noise, and responses with a content coding of their own, stay version 1."""
    noise = entry(body=Random(1).randbytes(1000))
    coded = entry(body=bytes(1000), fields=Fields.of(("content-encoding", "br")))
    assert pack(noise, above(10)) == pack(noise)
    assert pack(coded, above(10)) == pack(coded)


@given(ENTRIES, st.integers(0, 300), st.sampled_from(AT_REST_CODINGS))
def test_what_was_compressed_is_unpacked(entry: Entry, bound: int, coding: Coding) -> None:
    """Every entry comes back equal, whatever the bound and the coding, also with a body that shrinks."""
    for each in (entry, replace(entry, body=entry.body * 5)):
        assert unpack(pack(each, CompressRules(above_bytes=bound, coding=coding))) == each


@pytest.mark.parametrize("coding", AT_REST_CODINGS)
def test_every_changed_byte_of_a_compressed_value_is_refused(entry: Callable[..., Entry], coding: Coding) -> None:
    """Each byte in turn, to every other value: a miss, never a wrong body."""
    packed = pack(entry(body=b'{"id": 7}' * 20), CompressRules(above_bytes=10, coding=coding))
    for at in range(len(packed)):
        for by in range(1, 256):
            changed = bytearray(packed)
            changed[at] ^= by
            assert isinstance(unpack(bytes(changed)), Corrupt), (at, by)


@pytest.mark.parametrize("coding", AT_REST_CODINGS)
def test_every_cut_compressed_value_is_refused(entry: Callable[..., Entry], coding: Coding) -> None:
    """A compressed value cut short anywhere is refused."""
    packed = pack(entry(body=bytes(500)), CompressRules(above_bytes=10, coding=coding))
    assert all(isinstance(unpack(packed[:length]), Corrupt) for length in range(len(packed)))


META = {
    "key": "k",
    "status": 200,
    "fields": [["Content-Type", "text/plain"]],
    "body_bytes": 2,
    "requested_at": 1,
    "received_at": 2,
    "lifetime_s": 60,
    "keep_until": 100,
    "epoch": "e",
    "began_at_us": 5,
}


def by_hand(meta: object, body: bytes = b"hi", version: int = 1) -> bytes:
    """An entry as another program writes it, by docs/format.md."""
    rest = json.dumps(meta).encode() + b"\n" + body
    return b"cacheproxy %d %08x\n%b" % (version, crc32(rest), rest)


STREAMED = zstandard.ZstdCompressor().compressobj()
ZSTD_OF_HI = zstandard.compress(b"hi")


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("deflate", zlib.compress(b"hi", 9), id="zlib"),
        pytest.param("gzip", gzip.compress(b"hi"), id="gzip"),
        pytest.param("zstd", ZSTD_OF_HI, id="zstd"),
        pytest.param("zstd", STREAMED.compress(b"hi") + STREAMED.flush(), id="zstd-of-a-pipe-tells-no-length"),
    ],
)
def test_another_program_can_write_a_compressed_entry(coding: str, body: bytes) -> None:
    """Any stream of the coding that it names will do."""
    entry = unpack(by_hand(META | {"coding": coding}, body, 2))
    assert isinstance(entry, Entry)
    assert entry.body == b"hi"


DEFLATE_BOMB = zlib.compressobj(9)
BOMBS = {
    "deflate": b"".join(DEFLATE_BOMB.compress(bytes(1 << 24)) for _ in range(8)) + DEFLATE_BOMB.flush(),
    "gzip": gzip.compress(bytes(1 << 26)),
    "zstd": zstandard.compress(bytes(1 << 26)),
}


@pytest.mark.parametrize(
    ("change", "body"),
    [
        pytest.param({}, zlib.compress(b"hi"), id="no-coding"),
        pytest.param({"coding": 1}, zlib.compress(b"hi"), id="coding-no-text"),
        pytest.param({"coding": "gzip"}, zlib.compress(b"hi"), id="another-coding"),
        pytest.param({"coding": "deflate"}, b"hi", id="not-compressed"),
        pytest.param({"coding": "deflate"}, zlib.compress(b"hi")[:-1], id="cut"),
        pytest.param({"coding": "deflate"}, zlib.compress(b"hi") + b"x", id="more-after-it"),
        pytest.param({"coding": "deflate"}, zlib.compress(b"h"), id="shorter"),
        pytest.param({"coding": "deflate"}, zlib.compress(b"hi!"), id="longer"),
        pytest.param({"coding": "deflate", "body_bytes": 1 << 40}, zlib.compress(b"hi"), id="beyond-all-memory"),
        pytest.param({"coding": "deflate", "body_bytes": -1}, zlib.compress(b"hi"), id="negative"),
        pytest.param({"coding": "deflate", "body_bytes": None}, zlib.compress(b"hi"), id="no-length"),
        pytest.param({"coding": "zstd"}, b"hi", id="zstd-not-compressed"),
        pytest.param({"coding": "zstd"}, ZSTD_OF_HI[:-1], id="zstd-cut"),
        pytest.param({"coding": "zstd"}, ZSTD_OF_HI + b"x", id="zstd-more-after-it"),
        pytest.param({"coding": "zstd"}, ZSTD_OF_HI * 2, id="zstd-two-frames"),
        pytest.param({"coding": "zstd"}, zstandard.compress(b"h"), id="zstd-shorter"),
        pytest.param({"coding": "zstd"}, zstandard.compress(b"hi!"), id="zstd-longer"),
        pytest.param({"coding": "zstd", "body_bytes": 1 << 40}, ZSTD_OF_HI, id="zstd-beyond-all-memory"),
        *(pytest.param({"coding": coding}, bomb, id=f"{coding}-bomb") for coding, bomb in BOMBS.items()),
    ],
)
def test_a_wrong_coding_is_refused(change: dict[str, object], body: bytes) -> None:
    """What is not exactly the stream of a body of the length told is malformed."""
    assert unpack(by_hand(META | change, body, 2)) == Corrupt(CorruptReason.MALFORMED)


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_takes_no_memory(coding: str) -> None:
    """A small value that unpacks to very much is a miss for which no more is made than it said there would be."""
    value = by_hand(META | {"coding": coding, "body_bytes": 1000}, BOMBS[coding], 2)
    tracemalloc.start()
    try:
        assert unpack(value) == Corrupt(CorruptReason.MALFORMED)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(value) + (1 << 20)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["br", "lz4", ""])
def test_an_unknown_coding_is_told_apart(coding: str) -> None:
    """What a newer version, or another program, compressed in its own way is a miss with a reason."""
    assert unpack(by_hand(META | {"coding": coding}, b"hi", 2)) == Corrupt(CorruptReason.CODING)


def test_without_the_library_zlib_stands_in(entry: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where zstandard is missing, nothing is compressed with it, and what was is a miss."""
    kept = entry(body=bytes(500))
    zstd = CompressRules(above_bytes=10, coding=Coding.ZSTD)
    packed = pack(kept, zstd)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr(compression, "_is_here", lambda _: False)
    assert unpack(packed) == Corrupt(CorruptReason.CODING)
    assert pack(kept, zstd) == pack(kept, above(10))


def test_another_program_can_write_an_entry() -> None:
    """The required members of docs/format.md are enough, and field names are lower-cased."""
    entry = unpack(by_hand(META))
    assert isinstance(entry, Entry)
    assert (entry.key, entry.status, entry.body, entry.stamp) == ("k", 200, b"hi", Stamp("e", 5))
    assert entry.fields == Fields.of(("content-type", "text/plain"))
    assert (entry.tags, entry.vary, entry.swr_s, entry.must_revalidate) == ((), (), 0.0, False)


@pytest.mark.parametrize("member", sorted(META))
def test_a_missing_member_is_refused(member: str) -> None:
    """Each required member, left out, makes the value malformed."""
    assert unpack(by_hand({name: value for name, value in META.items() if name != member})) == Corrupt(
        CorruptReason.MALFORMED
    )


@pytest.mark.parametrize(
    "change",
    [
        {"key": 1},
        {"status": "200"},
        {"status": 199},
        {"status": 600},
        {"status": True},
        {"fields": "content-type"},
        {"fields": [["a"]]},
        {"fields": [["a", "b", "c"]]},
        {"fields": [["a", 1]]},
        {"fields": [["", "b"]]},
        {"fields": [["a:b", "c"]]},
        {"fields": [["a b", "c"]]},
        {"fields": [["a\r\nb", "c"]]},
        {"fields": [["a", "x\r\nset-cookie: y"]]},
        {"fields": [["a", "x\u0000"]]},
        {"fields": [["a", "\u20ac"]]},
        {"body_bytes": 3},
        {"lifetime_s": None},
        {"lifetime_s": float("nan")},
        {"lifetime_s": float("inf")},
        {"keep_until": 10**400},
        {"began_at_us": 1.5},
        {"tags": "abc"},
        {"tags": [1]},
        {"vary": "a"},
        {"variance": 5},
        {"epoch": None},
    ],
    ids=repr,
)
def test_a_wrong_member_is_refused(change: dict[str, object]) -> None:
    """A sound checksum does not make nonsense an entry; above all no field may carry a line feed."""
    assert unpack(by_hand(META | change)) == Corrupt(CorruptReason.MALFORMED)


@pytest.mark.parametrize("meta", [None, [], 1, "x", [[[]]]])
def test_json_that_is_no_object_is_refused(meta: object) -> None:
    """Any JSON but an object is malformed."""
    assert unpack(by_hand(meta)) == Corrupt(CorruptReason.MALFORMED)


@pytest.mark.parametrize("rest", [b"", b"{", b"{}", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_json_is_refused(rest: bytes) -> None:
    """Rubbish with a sound checksum, even rubbish made to exhaust a parser, is malformed."""
    assert unpack(b"cacheproxy 1 %08x\n%b" % (crc32(rest), rest)) == Corrupt(CorruptReason.MALFORMED)


def test_the_form_is_stable(entry: Callable[..., Entry]) -> None:
    """The bytes of version 1, to the letter: other programs rely on them."""
    kept = entry(fields=Fields.of(("content-type", "text/plain"), ("x-name", b"\xe9")), body=b"body\n\x00")
    assert pack(kept) == (
        b"cacheproxy 1 %08x\n"
        % crc32(pack(kept).partition(b"\n")[2])
        + b'{"key":"k","status":200,"fields":[["content-type","text/plain"],["x-name","\\u00e9"]],"body_bytes":6,'
        b'"requested_at":1763639999.8,"received_at":1763640000.0,"lifetime_s":60.0,"initial_age_s":0.0,"swr_s":0.0,'
        b'"sie_s":0.0,"must_revalidate":false,"keep_until":1763640120.0,"epoch":"e1","began_at_us":100,'
        b'"tags":["articles","article:1"],"route":"articles","vary":[],"variance":""}\nbody\n\x00'
    )


def test_a_time_without_end_is_not_stored(entry: Callable[..., Entry]) -> None:
    """JSON knows no infinity, so neither does the format."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack(entry(keep_until=float("inf")))
