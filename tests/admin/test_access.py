"""Who may use the admin port."""

import pytest

from cacheproxy.admin.access import Access, is_loopback
from cacheproxy.errors import PolicyError

TOKEN = "s3cret"


def test_a_listener_open_to_others_needs_a_token():
    """Off loopback without a token is refused at the start, and says what to do."""
    with pytest.raises(PolicyError, match="CACHEPROXY_ADMIN_TOKEN"):
        Access.for_listener("0.0.0.0")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param(None, 401, id="absent"),
        pytest.param("Bearer wrong", 401, id="wrong"),
        pytest.param(f"Basic {TOKEN}", 401, id="other-scheme"),
        pytest.param("Bearer sécret", 401, id="beyond-ascii"),
        pytest.param("Bearer", 401, id="empty"),
        pytest.param(f"Bearer {TOKEN}", 200, id="right"),
        pytest.param(f"bearer  {TOKEN}", 200, id="9110-11.1-scheme-is-case-insensitive"),
    ],
)
async def test_off_loopback_only_the_token_opens(client, authorization, status):
    """Metrics, statistics and purges are for those who hold the token."""
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = await client("10.1.2.3", TOKEN).get("/metrics", headers=headers)
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/"])
async def test_probes_and_the_empty_page_need_no_token(client, path):
    """A kubelet has no token, and the dashboard's page must be there to ask for one."""
    assert (await client("10.1.2.3", TOKEN).get(path)).status_code == 200


async def test_off_loopback_a_purge_without_token_is_not_made(client, rest):
    """The refusal comes before the body is read."""
    answer = await client("10.1.2.3", TOKEN).post("/api/v1/purge", json={"all": True})
    assert answer.status_code == 401
    assert rest.purges == []


async def test_on_loopback_a_token_counts_if_one_is_set(client):
    """An operator may lock the port against other users of the machine too."""
    assert (await client("127.0.0.1", TOKEN).get("/metrics")).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9090", 200),
        ("127.0.0.2", 200),
        ("localhost:9090", 200),
        ("LOCALHOST", 200),
        ("[::1]:9090", 200),
        ("evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
async def test_on_loopback_a_foreign_host_field_is_refused(client, host, status):
    """A page that rebinds its name to 127.0.0.1 cannot read or purge anything: its own name is in Host."""
    assert (await client().get("/metrics", headers={"Host": host})).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="curl"),
        pytest.param({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:9090"}, 200, id="dashboard"),
        pytest.param({"Sec-Fetch-Site": "none"}, 200, id="typed-by-the-user"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="other-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="other-port"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="old-browser"),
        pytest.param({"Origin": "null"}, 403, id="sandboxed-frame"),
        pytest.param({"Origin": "http://127.0.0.1:9090"}, 200, id="old-browser-same-origin"),
    ],
)
async def test_a_page_from_elsewhere_cannot_purge(client, rest, headers, status):
    """Loopback needs no token, so a browser on this machine must not become the attacker's hand."""
    answer = await client().post("/api/v1/purge", json={"all": True}, headers=headers)
    assert answer.status_code == status
    assert len(rest.purges) == (status == 200)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("db", False)],
)
def test_is_loopback_knows_names_and_addresses(host, loopback):
    """Only what cannot be another machine is loopback: the wildcard addresses are not."""
    assert is_loopback(host) is loopback
