"""Where to log in, and the way back, which never leads elsewhere."""

from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.sessions.login import login_location

HERE = "https://shop.example/somewhere"


def back(location: bytes) -> str:
    """Where a login page that follows ``next`` would send its visitor."""
    [target] = parse_qs(urlsplit(location.decode()).query)["next"]
    return target


@pytest.mark.parametrize("target", [b"/", b"/a?b=c&d=e", b"/a%2Fb?x=%26#", b"/a?next=/b", b'/%e4?q="<>'])
def test_the_target_comes_back_as_it_was(target: bytes) -> None:
    """Path and query are one value, and read by the login page they are what was asked for."""
    location = login_location("/login?lang=de&next={target}", target)
    assert location.startswith(b"/login?lang=de&next=")
    assert target.decode() == back(location)


@pytest.mark.parametrize(
    "target",
    [
        b"//evil.example/x", b"/\\evil.example", b"/\\/evil.example", b"///evil.example", b"https://evil.example/",
        b"*", b"evil.example", b"/a b", b"/a\nSet-Cookie: x=1", b"/\xff", b"",
    ],
)  # fmt: skip
def test_what_could_lead_elsewhere_leads_home(target: bytes) -> None:
    """An open redirect would lend our name to any site."""
    assert b"/login?next=%2F" == login_location("/login?next={target}", target)


@given(st.binary())
def test_no_target_whatever_leads_elsewhere(target: bytes) -> None:
    r"""The field is one line of ASCII, and following ``next`` stays on this host, as browsers read ``\\``."""
    location = login_location("/login?next={target}", target)
    assert all(0x20 < byte < 0x7F for byte in location)
    assert urlsplit(HERE)[:2] == urlsplit(urljoin(HERE, back(location).replace("\\", "/")))[:2]


def test_a_place_that_asks_for_no_target_gets_none() -> None:
    """A fixed page is a fixed page."""
    assert b"https://id.example/login" == login_location("https://id.example/login", b"/secret?token=1")
