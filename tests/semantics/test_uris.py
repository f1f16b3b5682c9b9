"""URI references within one origin (RFC 3986 §5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.uris import resolve

REQUEST = RequestHead(method="POST", target=b"/b/c/d;p?q", authority=b"example.org:8080")


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        pytest.param(b"", b"/b/c/d;p?q", id="3986-5.4.1-same"),
        pytest.param(b"g", b"/b/c/g", id="3986-5.4.1-relative"),
        pytest.param(b"./g", b"/b/c/g", id="3986-5.4.1-here"),
        pytest.param(b"g/", b"/b/c/g/", id="3986-5.4.1-directory"),
        pytest.param(b"/g", b"/g", id="3986-5.4.1-absolute-path"),
        pytest.param(b"?y", b"/b/c/d;p?y", id="3986-5.4.1-query"),
        pytest.param(b"g?y#s", b"/b/c/g?y", id="3986-5.4.1-fragment"),
        pytest.param(b"#s", b"/b/c/d;p?q", id="3986-5.4.1-fragment-alone"),
        pytest.param(b".", b"/b/c/", id="3986-5.4.1-dot"),
        pytest.param(b"..", b"/b/", id="3986-5.4.1-dots"),
        pytest.param(b"../g", b"/b/g", id="3986-5.4.1-up"),
        pytest.param(b"../../../g", b"/g", id="3986-5.4.2-above-the-root"),
        pytest.param(b"/./g", b"/g", id="3986-5.4.2-dot-in-path"),
        pytest.param(b"g.", b"/b/c/g.", id="3986-5.4.2-dot-in-name"),
        pytest.param(b"g?y/../x", b"/b/c/g?y/../x", id="3986-5.4.2-dots-in-query"),
        pytest.param(b"http://example.org:8080/x", b"/x", id="9111-4.4-same-origin"),
        pytest.param(b"HTTPS://EXAMPLE.org:8080/x?y", b"/x?y", id="scheme-and-case-aside"),
        pytest.param(b"//example.org:8080", b"/", id="authority-alone"),
        pytest.param(b"//example.org:8080?y", b"/?y", id="authority-and-query"),
        pytest.param(b"http://example.org/x", None, id="9111-4.4-another-port"),
        pytest.param(b"//other.org/x", None, id="9111-4.4-another-host"),
        pytest.param(b"ftp://example.org:8080/x", None, id="another-scheme"),
        pytest.param(b"http:/x", None, id="scheme-without-authority"),
        pytest.param(b"mailto:x", None, id="no-path"),
        pytest.param(b"/" + b"x" * 9000, None, id="too-long"),
    ],
)
def test_a_reference_is_resolved_against_the_request(reference: bytes, target: bytes | None) -> None:
    """The target it names on the same host and port, or nothing."""
    assert resolve(reference, REQUEST) == target


@pytest.mark.parametrize(
    ("host", "reference", "same"),
    [
        pytest.param("example.org", b"http://example.org:80/", True, id="default-port"),
        pytest.param("example.org:443", b"https://example.org/", True, id="default-port-tls"),
        pytest.param("example.org", b"http://example.org:/", True, id="empty-port"),
        pytest.param("[::1]:80", b"http://[::1]/", True, id="ipv6"),
        pytest.param("", b"http:///", False, id="no-host"),
    ],
)
def test_hosts_are_compared_with_their_ports(host: str, reference: bytes, *, same: bool) -> None:
    """Default ports are no difference."""
    request = RequestHead(method="POST", target=b"/", fields=Fields.of(("host", host)))
    assert (resolve(reference, request) is not None) == same


def test_without_any_host_nothing_is_the_same() -> None:
    """A request that does not say its host matches no absolute URI."""
    assert resolve(b"http://example.org/", RequestHead(method="POST", target=b"/")) is None


@given(st.binary(max_size=60))
def test_any_bytes_may_come_as_a_reference(reference: bytes) -> None:
    """The answer is a path without dot segments, or nothing."""
    target = resolve(reference, REQUEST)
    if target is not None:
        path = target.partition(b"?")[0]
        assert path.startswith(b"/")
        assert not {b".", b".."} & set(path.split(b"/"))
