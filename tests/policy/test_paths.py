"""Path patterns, and the ways in which a path can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import ClientError
from cacheproxy.policy.paths import (
    PathPattern,
    canonical_host,
    int_text,
    is_int,
    is_nearly_int,
    is_plain,
    loose_segments,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a//b",
        "/a?b",
        "/a#b",
        "/{a}/{a}",
        "/{a:uuid}",
        "/a{b}",
        "/{a:path}/b",
        "/*",
        "/../a",
        "/%2e/a",
        "/a%2Fb",
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """A pattern that could never match as meant is an error."""
    with pytest.raises(ValueError, match=r".+"):
        PathPattern.parse(text)


@pytest.mark.parametrize(
    ("pattern", "values", "path"),
    [
        ("/", {}, b"/"),
        ("/a/", {}, b"/a/"),
        ("/articles/{id:int}", {"id": "7"}, b"/articles/7"),
        ("/users/{id}", {"id": "a b/c"}, b"/users/a%20b%2Fc"),
        ("/files/{rest:path}", {"rest": "x/y z"}, b"/files/x/y%20z"),
        ("/café/{id}", {"id": "é"}, b"/caf%C3%A9/%C3%A9"),
        ("/caf%C3%A9", {}, b"/caf%C3%A9"),
        ("/a:b/{id}", {"id": "x@y"}, b"/a:b/x@y"),
    ],
)
def test_each_list_of_values_has_one_spelling(pattern: str, values: dict[str, str], path: bytes) -> None:
    """The canonical spelling escapes only what a segment cannot hold (RFC 3986 §3.3), in capitals."""
    assert PathPattern.parse(pattern).spell(values) == path


@pytest.mark.parametrize(
    "path", [b"/", b"/a/b", b"/a/", b"/a.b/..c/...", b"/a:b@c!$&'()*+,=", b"/caf\xc3\xa9", b"/.a/b."]
)
def test_plain_paths(path: bytes) -> None:
    """What everybody reads the same way takes the short way."""
    assert is_plain(path)


@pytest.mark.parametrize(
    "path", [b"/%61", b"/a;b", b"/a//b", b"//", b"/a\\b", b"/./a", b"/a/..", b"/..", b"/a/./b", b"/a\x00b"]
)
def test_odd_paths(path: bytes) -> None:
    """What readers disagree about is looked at closely."""
    assert not is_plain(path)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"/a%2Fb", [b"a", b"b"]),
        (b"/a%5Cb", [b"a", b"b"]),
        (b"/a\\b", [b"a", b"b"]),
        (b"/a//b", [b"a", b"b"]),
        (b"//a/", [b"a", b""]),
        (b"/a;v=1/b;c", [b"a", b"b"]),
        (b"/a%3Bv/b", [b"a", b"b"]),
        (b"/100%/%zz", [b"100%", b"%zz"]),
    ],
)
def test_the_loose_reading_is_what_some_upstream_reads(path: bytes, segments: list[bytes]) -> None:
    """Decoded whole, backslashes as slashes, parameters dropped, slashes merged."""
    assert loose_segments(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b", b"/a/./b", b"/..", b"/a/%2e%2e/b", b"/a/%2E./b", b"/a/.%2e", b"/a%2F..%2Fb", b"/a/..;/b",
        b"/a/..;x=1/b", b"/a\\..\\b", b"/a/..%5Cb", b"/a/..%00/b", b"/a%00.html/b", b"/%00%2Fa",
        b"/a/%252e%252e/b", b"/a/%2e", b"/%c0%ae%c0%ae/b", b"/a/%u002e%U002E/b",
        b"/a%c0%afb", b"/a%e0%80%afb", b"/a%f0%80%80%afb",
    ],
)  # fmt: skip
def test_no_honest_client_sends_these(path: bytes) -> None:
    """Dot segments, plain or disguised, overlong UTF-8 and NULs are refused outright."""
    with pytest.raises(ClientError) as caught:
        loose_segments(path)
    assert (caught.value.status, caught.value.reason) == (400, "ambiguous-path")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (b"/a/../b", "a dot segment"),
        (b"/a/%2e%2e/b", "a dot segment"),
        (b"/a/%252e%252e/b", "a dot segment, encoded more than once"),
        (b"/a%c0%afb", "overlong UTF-8"),
        (b"/a%00.html/b", "a NUL"),
    ],
)
def test_who_sends_them_is_told_what_they_hold(path: bytes, said: str) -> None:
    """An operator who asks `explain` need not guess."""
    with pytest.raises(ClientError) as caught:
        loose_segments(path)
    assert caught.value.detail == f"the path holds {said}"


@given(st.binary())
def test_the_loose_reading_never_breaks(tail: bytes) -> None:
    """Any bytes have a loose reading of at least one segment, or are refused."""
    try:
        assert loose_segments(b"/" + tail)
    except ClientError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("raw", "text"), [(b"7", "7"), (b"007", "7"), (b"0", "0"), (b"000", "0"), (b"9" * 5000, "9" * 5000)]
)
def test_numbers_have_one_spelling(raw: bytes, text: str) -> None:
    """Leading zeros mean nothing, and no number is too long to be spelled."""
    assert is_int(raw)
    assert int_text(raw) == text


@pytest.mark.parametrize("raw", [b"+7", b"-7", b" 7", b"7 ", b"7.0", b"7.", b"1_000", "\u0667".encode()])
def test_what_some_upstream_takes_for_a_number(raw: bytes) -> None:
    """Both pydantic and Python's int() are more generous than a route is."""
    assert not is_int(raw)
    assert is_nearly_int(raw)


@pytest.mark.parametrize("raw", [b"", b"x", b"7x", b"0x7", b"7.5", b"7/7", b"\xff7"])
def test_what_nobody_takes_for_a_whole_number(raw: bytes) -> None:
    """These are names to every upstream."""
    assert not is_int(raw)
    assert not is_nearly_int(raw)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"Example.COM", "example.com"),
        (b"example.com:8080", "example.com"),
        (b"example.com.:80", "example.com"),
        (b"example.com:", "example.com"),
        (b"[::1]:80", "[::1]"),
        (b"[::1]", "[::1]"),
        (b"", ""),
        (b"a:b", "a:b"),
        (b"\xff", "ÿ"),
    ],
)
def test_hosts_are_compared_without_port_case_and_final_dot(host: bytes, name: str) -> None:
    """A route for one host is not evaded by spelling it otherwise."""
    assert canonical_host(host) == name
