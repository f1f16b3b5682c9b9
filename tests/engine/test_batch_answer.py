"""Arrays taken apart, and made of elements: byte by byte."""

import contextlib
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.engine.batch_answer import NO_ELEMENT, UnusableError, element_of, elements
from cacheproxy.policy.batch_rules import Absent, BatchRules
from cacheproxy.policy.paths import PathPattern
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry

PATH = PathPattern.parse("/things/{id}")
RULES = BatchRules(param="ids", route="thing", own=(PathPattern.parse("/things"),), path=PATH, id_name="id")
JSON = Fields.of(("content-type", "application/json; charset=utf-8"))
GZIP = JSON.plus((b"content-encoding", b"gzip"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
THINGS = st.dictionaries(st.integers(0, 99), st.dictionaries(st.text(), VALUES, max_size=3), max_size=5)


def written(things: dict[int, dict[str, Any]], indent: int | None, ascii_only: bool) -> bytes:
    """An array of ``things``, as some service would write it."""
    said = [{**thing, "id": number} for number, thing in things.items()]
    return json.dumps(said, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def entry(body: bytes, *, status: int = 200, fields: Fields = JSON) -> Entry:
    """A stored response."""
    return Entry(
        key="k", status=status, fields=fields, body=body, requested_at=0, received_at=0, lifetime_s=1, keep_until=1,
        stamp=Stamp("e", 1),
    )  # fmt: skip


@given(THINGS, st.sampled_from([None, 0, 2]), st.booleans())
def test_each_element_is_its_text_in_the_array(
    things: dict[int, dict[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    """However the array was written, an element stands in it byte by byte, and is the element."""
    content = written(things, indent, ascii_only)
    with contextlib.suppress(UnicodeDecodeError):
        content.decode()  # lone surrogates are no UTF-8, and refused
        found = elements(RULES, JSON, content, map(str, things))
        assert [str(number) for number in things] == list(found)
        for number, text in found.items():
            assert text in content
            assert json.loads(text) == {**things[int(number)], "id": int(number)}
            assert text == element_of(RULES, number, entry(text))


@given(THINGS, st.integers(0, 400), st.binary(max_size=3))
def test_whatever_is_no_array_is_refused_and_nothing_worse(
    things: dict[int, dict[str, Any]], at: int, put_in: bytes
) -> None:
    """An array that was cut or scribbled on is an array all the same, or none at all."""
    whole = written(things, None, ascii_only=True)
    content = whole[:at] + put_in + whole[at + len(put_in) :]
    with contextlib.suppress(UnusableError):
        found = elements(RULES, JSON, content, [str(number) for number in range(100)])
        assert [str(each["id"]) for each in json.loads(content)] == list(found)


@pytest.mark.parametrize(
    ("content", "absent", "ids"),
    [
        (b"[]", Absent.OMIT, []),
        (b" [ ] \n", Absent.OMIT, []),
        (b'[{"id":1}]', Absent.OMIT, ["1"]),
        (b'\t[\n{"id": "1"} ,\r\n{"id":2}] ', Absent.OMIT, ["1", "2"]),
        (b'[null,{"id":1},null]', Absent.NULL, ["1"]),
        (b"[null]", Absent.OMIT, None),
        (b"\xef\xbb\xbf[]", Absent.OMIT, None),
        ('[{"id":1}]'.encode("utf-16"), Absent.OMIT, None),
        (b'[{"id":1.0}]', Absent.OMIT, None),
        (b'[{"id":null}]', Absent.OMIT, None),
        (b'[{"id":{"id":1}}]', Absent.OMIT, None),
        (b'[{"id":' + b"1" * 5000 + b"}]", Absent.OMIT, None),
        (b"[" * 5000 + b"]" * 5000, Absent.OMIT, None),
        (b"[1e9999]", Absent.OMIT, None),
        (b"[-Infinity]", Absent.OMIT, None),
    ],
)
def test_what_is_an_array_of_elements(content: bytes, absent: Absent, ids: list[str] | None) -> None:
    """JSON as RFC 8259 has it, in UTF-8; ids are texts or whole numbers."""
    rules = BatchRules(param="ids", route="thing", own=RULES.own, path=PATH, id_name="id", absent=absent)
    try:
        found: list[str] | None = list(elements(rules, JSON, content, ["1", "2"]))
    except UnusableError:
        found = None
    assert ids == found


@pytest.mark.parametrize(
    ("stored", "element"),
    [
        (entry(b' {"id": 7} \n'), b'{"id": 7}'),
        (entry(b"gone", status=404), NO_ELEMENT),
        (entry(b"", status=410), NO_ELEMENT),
        (entry(b'{"id": 7}', status=203), None),
        (entry(b'{"id": 7}', fields=Fields()), None),
        (entry(b'{"id": 7}', fields=Fields.of(("content-type", "application/vnd.api+json"))), b'{"id": 7}'),
        (entry(gzip.compress(b'{"id": 7}'), fields=GZIP), b'{"id": 7}'),
        (entry(gzip.compress(b'{"id": 7}')[:-1], fields=GZIP), None),
        (entry(gzip.compress(b'{"id": 7}') + b"x", fields=GZIP), None),
        (entry(gzip.compress(b'{"id": 7}' + b" " * (1 << 20)), fields=GZIP), None),
        (entry(b'{"id": 7}', fields=GZIP), None),
        (entry(b'{"id": 7}', fields=JSON.plus((b"content-encoding", b"br"))), None),
        (entry(b'{"id": 7}', fields=JSON.plus((b"content-encoding", b"identity"))), b'{"id": 7}'),
        (entry(b'{"id": 8}'), None),
        (entry(b"[7]"), None),
        (entry(b'{"id": 7'), None),
        (entry(b"[" * 100_000), None),
    ],
)  # fmt: skip
def test_what_a_stored_response_gives_to_an_array(stored: Entry, element: bytes | None) -> None:
    """Its body, where that is the element; nothing, where it says that there is none."""
    assert element == element_of(RULES, "7", stored)
