"""YAML, read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import PolicyError
from cacheproxy.policy.yaml import Document, Place, read_yaml


def read(text: str, **environ: str) -> Document:
    """The document of a text without faults."""
    document, faults = read_yaml(text, "test.yaml", environ)
    assert faults == []
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("010", 10),
        ("true", True),
        ("True", "True"),
        ("null", None),
        ("~", None),
        ("", None),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-7", -7),
        ("'7'", "7"),
        ('"true"', "true"),
        (".inf", ".inf"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """No word turns into a boolean, no time into a number, no date into an object."""
    data = read(f"k: {text}").data
    assert data == {"k": value}
    assert isinstance(data, dict)
    assert type(data["k"]) is type(value)


def test_every_key_and_value_has_its_place() -> None:
    """Lines and columns count from 1."""
    document = read("a:\n  b: [1, {c: 2}]\n")
    assert document.data == {"a": {"b": [1, {"c": 2}]}}
    assert document.keys["a", "b", 1, "c"] == Place(2, 11)
    assert document.values["a", "b", 1, "c"] == Place(2, 14)
    assert document.values["a", "b", 0] == Place(2, 7)


@pytest.mark.parametrize(
    ("text", "environ", "value"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("http://${H}:${P:-80}/", {"H": "h"}, "http://h:80/"),
        ("${A:-}", {}, None),
        ("'${A:-}'", {}, ""),
        ("${A:-b}", {"A": ""}, "b"),
        ("${P}", {"P": "8000"}, 8000),
        ("'${P}'", {"P": "8000"}, "8000"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("$A {id}", {"A": "x"}, "$A {id}"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("${A}", {"A": "[1]: {x: *y}"}, "[1]: {x: *y}"),
    ],
)
def test_the_environment_stands_in_for_names(text: str, environ: dict[str, str], value: object) -> None:
    """Inside of scalars alone, once, and never as YAML: what a variable holds cannot add a key."""
    assert read(f"k: {text}", **environ).data == {"k": value}


def test_aliases_are_allowed_but_may_not_explode() -> None:
    """An anchor used twice is fine; nine levels of nine are refused before they fill the memory."""
    assert read("a: &x [1]\nb: *x\n").data == {"a": [1], "b": [1]}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    with pytest.raises(PolicyError, match="aliases that multiply"):
        read(bomb)


@pytest.mark.parametrize("text", ["a: &a [*a]", "[" * 100 + "]" * 100, "[" * 100_000, "a: " * 2 + "b", "{" * 50_000])
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    """Recursion in the file is an error of the file, not of the program."""
    with pytest.raises(PolicyError):
        read(text)


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: b}\n: c", "[a]: b"])
def test_keys_are_single_words(text: str) -> None:
    """A list as a key is a fault with a place."""
    _, faults = read_yaml(text, "test.yaml", {})
    assert [fault.message for fault in faults] == ["a key must be a single word"]
    assert faults[0].line == 1


def test_two_documents_are_refused() -> None:
    """Half of a file is never silently left out."""
    with pytest.raises(PolicyError):
        read("a: 1\n---\nb: 2\n")


def test_a_huge_file_is_refused() -> None:
    """Over 4 MiB it is no policy."""
    with pytest.raises(PolicyError, match="4 MiB"):
        read("#" * (5 << 20))


@given(st.text(alphabet=st.sampled_from("ab:- \n{}[],'\"#&*!|>%@`\t?${}\x00\x85é"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a document with its faults, or a PolicyError, comes of any text."""
    try:
        read_yaml(text, "test.yaml", {"a": "b"})
    except PolicyError as error:
        assert error.faults
