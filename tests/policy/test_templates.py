"""Templates of keys and tags."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cacheproxy.policy.templates import KeyTemplate, Template, digest, key_part

VALUES = st.lists(st.text(max_size=80), min_size=2, max_size=2)


@pytest.mark.parametrize(
    ("text", "values", "rendered"),
    [
        ("articles", {}, "articles"),
        ("article:{id}", {"id": "7"}, "article:7"),
        ("{a}:{b}", {"a": "x", "b": "y"}, "x:y"),
        ("a:{data.article.id}", {"data.article.id": "7"}, "a:7"),
        ("a:{query.skip=0}", {}, "a:0"),
        ("a:{query.skip=0}", {"query.skip": "5"}, "a:5"),
        ("a:{query.q=}", {}, "a:"),
        ("a:{id}", {}, None),
        ("a:{id}", {"id": "é b:c"}, "a:é b:c"),
    ],
)
def test_a_tag_is_rendered_with_values_as_they_are(text: str, values: dict[str, str], rendered: str | None) -> None:
    """Any program can spell a tag: values stand in it unescaped, and a name without value or default gives None."""
    assert Template.parse(text).render(values.get) == rendered


@pytest.mark.parametrize(
    ("text", "value", "rendered"),
    [
        ("{id}", "*", "%2A"),
        ("article:{id}", "*", "article:%2A"),
        ("article:{id}", "x:*", "article:x:%2A"),
        ("{id}", "@tenant/a", "%40tenant/a"),
        ("article:{id}", "a*", "article:a*"),
    ],
)
def test_a_value_cannot_turn_a_tag_into_one_that_stands_for_many(text: str, value: str, rendered: str) -> None:
    """``DELETE /articles/*`` purges one article, not all."""
    assert Template.parse(text).render({"id": value}.get) == rendered


def test_a_policy_may_write_a_tag_that_stands_for_many() -> None:
    """``articles:list:*`` in a policy stays what it is."""
    assert Template.parse("articles:list:*").render({}.get) == "articles:list:*"


@pytest.mark.parametrize("text", ["", "a{", "a}", "{}", "{a b}", "{{a}}", "{1a}", "{a.}", "@mine"])
def test_what_is_no_template_is_refused(text: str) -> None:
    """A mistyped template is an error when it is read, not when it is used."""
    with pytest.raises(ValueError, match=r".+"):
        Template.parse(text)


@pytest.mark.parametrize("text", ["a::b", ":a", "a:", "{a}{b}", "{a}-{b}", "a b", "a%b", "a~b", "a@b", "{a}*"])
def test_what_could_run_together_is_no_key(text: str) -> None:
    """A key has at most one name between two colons, no empty part, and no character with a meaning of its own."""
    with pytest.raises(ValueError, match=r".+"):
        KeyTemplate.parse(text)


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("articles", ()),
        ("articles:{id}", ("articles:*",)),
        ("articles:list:{skip}:{limit}", ("articles:*", "articles:list:*")),
        ("{id}:x", ()),
        ("a:b{id}:c", ("a:*",)),
    ],
)
def test_the_literal_beginnings_of_a_key_are_tags(text: str, prefixes: tuple[str, ...]) -> None:
    """``articles:list:*`` is a tag, not a scan."""
    assert KeyTemplate.parse(text).prefixes == prefixes


def test_names_are_listed_once_in_order() -> None:
    """``names`` says what a lookup will be asked for."""
    assert Template.parse("{b}:{a.x}:{b=1}").names == ("b", "a.x")


@given(VALUES, VALUES)
@example(["ab", "c"], ["a", "bc"])
@example(["a:b", "c"], ["a", "b:c"])
@example(["%3A", ""], [":", ""])
@example(["a" * 65, ""], ["!" + digest(b"a" * 65), ""])
@example(["\ud800", ""], ["%ED%A0%80", ""])
def test_two_keys_are_equal_only_if_made_of_equal_values(one: list[str], other: list[str]) -> None:
    """("ab", "c") is not ("a", "bc"), whatever the values hold."""
    template = KeyTemplate.parse("k:{a}:{b}")
    keys = [template.render(dict(zip("ab", values, strict=True)).get) for values in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(st.text(max_size=200))
def test_a_key_part_is_short_plain_text(value: str) -> None:
    """No value brings a separator, a space, a control character or more than 192 bytes into a key."""
    part = key_part(value)
    assert len(part) <= 192
    assert set(part) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-%!")


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_a_digest_tells_every_list_of_parts_apart(a: list[bytes], b: list[bytes]) -> None:
    """Two digests are equal only if made of equal parts."""
    assert (digest(*a) == digest(*b)) == (a == b)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("42", "42"),
        ("a:b", "a%3Ab"),
        ("100%", "100%25"),
        ("a b/c~d", "a%20b%2Fc%7Ed"),
        ("café", "caf%C3%A9"),
        ("", ""),
        ("a" * 64, "a" * 64),
        ("a" * 65, "!b25b0450275d4d9ad83013470c99f88f"),
        ("é" * 33, "!73f849c2262b294f6789a35f8f522008"),
        ("a\nb", "!d829d98420342a343aa6b2fbeedc895d"),
    ],
)
def test_key_parts_never_change_between_releases(value: str, part: str) -> None:
    """Test vectors: another program, and the next release, find what this one stored."""
    assert key_part(value) == part
