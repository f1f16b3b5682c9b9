"""Settings from the environment and the command line."""

import re
from base64 import b64encode
from pathlib import Path

import pytest

from cacheproxy.errors import PolicyError
from cacheproxy.settings import Settings, keys_of, misspelt


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("CACHEPROXY_", "REDIS_")):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    """Clients anywhere, the admin port on loopback, an embedded Redis."""
    settings = Settings.load()
    assert settings.listen == ("0.0.0.0", 8080)
    assert settings.admin == ("127.0.0.1", 9090)
    assert settings.redis_urls() == "embedded"
    assert (settings.workers, settings.redis_budget, settings.prefix) == (1, 0.05, "cacheproxy")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, given: str, address: tuple[str, int]) -> None:
    """HOST:PORT, with brackets around IPv6 and nothing for everywhere."""
    monkeypatch.setenv("CACHEPROXY_LISTEN", given)
    assert Settings.load().listen == address


def test_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given there replaces the variable; None stands for what is not given."""
    monkeypatch.setenv("CACHEPROXY_REDIS", "redis://one")
    monkeypatch.setenv("CACHEPROXY_WORKERS", "2")
    settings = Settings.load(redis="redis://two", workers=None, config="x.yaml")
    urls = settings.redis_urls()
    assert isinstance(urls, dict)
    assert (urls["cache"], settings.workers, settings.config) == ("redis://two", 2, Path("x.yaml"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"REDIS_URL": "redis://a/1"}, "redis://a/1"),
        ({"CACHEPROXY_REDIS": "none", "REDIS_URL": "redis://a/1"}, "none"),
        ({"CACHEPROXY_REDIS": "", "REDIS_URL": "redis://a/1"}, "redis://a/1"),
        ({"REDIS_HOST": "r"}, "redis://r:6379/0"),
        ({"REDIS_HOST": "r", "REDIS_PORT": "7", "REDIS_DB": "3"}, "redis://r:7/3"),
        ({"REDIS_HOST": "r", "REDIS_PASSWORD": "p@ss/w:rd"}, "redis://:p%40ss%2Fw%3Ard@r:6379/0"),
        (
            {"REDIS_HOST": "r", "REDIS_USERNAME": "u", "REDIS_PASSWORD": "p", "REDIS_TLS": "true"},
            "rediss://u:p@r:6379/0",
        ),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "r", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "redis://r:6379/0"),
    ],
)
def test_where_redis_is(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str) -> None:
    """A URL, or pieces; what Kubernetes puts into REDIS_PORT does no harm."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    urls = Settings.load().redis_urls()
    assert (urls["cache"] if isinstance(urls, dict) else urls) == expected


def test_each_role_may_have_its_own_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """By URL, or sessions by database number; the rest share the cache's."""
    monkeypatch.setenv("REDIS_HOST", "r")
    monkeypatch.setenv("REDIS_SESSION_DB", "5")
    monkeypatch.setenv("CACHEPROXY_REDIS_LIMITS", "redis://limits")
    assert Settings.load().redis_urls() == {
        "cache": "redis://r:6379/0",
        "sessions": "redis://r:6379/5",
        "limits": "redis://limits",
        "bus": "redis://r:6379/0",
    }


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As Docker and Kubernetes mount them; a final newline is not part of them."""
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    monkeypatch.setenv("CACHEPROXY_ADMIN_TOKEN_FILE", str(file))
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    monkeypatch.setenv("REDIS_HOST", "r")
    settings = Settings.load()
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "t0ken"
    urls = settings.redis_urls()
    assert isinstance(urls, dict)
    assert urls["cache"] == "redis://:t0ken@r:6379/0"


def test_a_secret_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable and a file for the same secret, or a file that is not there, are errors."""
    monkeypatch.setenv("REDIS_PASSWORD", "a")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(tmp_path / "a"))
    monkeypatch.setenv("CACHEPROXY_ADMIN_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(PolicyError) as caught:
        Settings.load()
    assert [fault.path for fault in caught.value.faults] == ["CACHEPROXY_ADMIN_TOKEN_FILE", "REDIS_PASSWORD_FILE"]


KEY = b64encode(bytes(range(32))).decode()


def test_encryption_keys_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a variable or a file: the first is the one that encrypts."""
    text = f"new:{KEY}, old:{b64encode(bytes(16)).decode()}"
    file = tmp_path / "keys"
    file.write_text(text + "\n")
    monkeypatch.setenv("CACHEPROXY_ENCRYPTION_KEYS_FILE", str(file))
    settings = Settings.load()
    assert settings.encryption_keys is not None
    assert settings.encryption_keys.get_secret_value() == text
    assert keys_of(text) == [("new", bytes(range(32))), ("old", bytes(16))]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (KEY, "key 1 is not ID:BASE64"),
        (f"a:{KEY},", "key 2 is not ID:BASE64"),
        (f"a b:{KEY}", "key 1 is not ID:BASE64"),
        (f"{'a' * 65}:{KEY}", "key 1 is not ID:BASE64"),
        (f"a:{KEY},a:{KEY}", "keys 1 and 2 have the same id"),
        (f"a:{KEY},b:{KEY[:-2]}", "key 2 is not base64"),
        (f"a:{KEY}!", "key 1 is not base64"),
        ("a:", "key 1 has 0 bytes, not 16, 24 or 32"),
        ("a:" + b64encode(b"s3cret").decode(), "key 1 has 6 bytes, not 16, 24 or 32; `openssl rand -base64 32`"),
        ("a:" + b64encode(bytes(33)).decode(), "key 1 has 33 bytes, not 16, 24 or 32"),
    ],
)
def test_a_wrong_encryption_key_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, keys: str, message: str
) -> None:
    """At start, by its place, with what to write."""
    monkeypatch.setenv("CACHEPROXY_ENCRYPTION_KEYS", keys)
    with pytest.raises(PolicyError, match=re.escape(message)) as caught:
        Settings.load()
    assert [fault.path for fault in caught.value.faults] == ["CACHEPROXY_ENCRYPTION_KEYS"]
    assert KEY[:20] not in str(caught.value)


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the settings' text nor in an error about them."""
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret@r")
    monkeypatch.setenv("REDIS_PASSWORD", "s3cret")
    monkeypatch.setenv("CACHEPROXY_ADMIN_TOKEN", "s3cret")
    assert "s3cret" not in repr(Settings.load()) + str(Settings.load())
    monkeypatch.setenv("REDIS_URL", "s3cret-without-scheme")
    with pytest.raises(PolicyError) as caught:
        Settings.load()
    assert "s3cret" not in str(caught.value)


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, with what to write."""
    for name, value in {
        "CACHEPROXY_LISTEN": "8080",
        "CACHEPROXY_WORKERS": "0",
        "CACHEPROXY_LOG_LEVEL": "loud",
        "CACHEPROXY_REDIS_BUDGET": "50",
        "CACHEPROXY_PREFIX": "a:b",
        "REDIS_MAX_CONNECTIONS": "many",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PolicyError) as caught:
        Settings.load()
    assert {fault.path for fault in caught.value.faults} == {
        "CACHEPROXY_LISTEN",
        "CACHEPROXY_WORKERS",
        "CACHEPROXY_LOG_LEVEL",
        "CACHEPROXY_REDIS_BUDGET",
        "CACHEPROXY_PREFIX",
        "REDIS_MAX_CONNECTIONS",
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CACHEPROXY_WORKER", "CACHEPROXY_WORKERS"),
        ("CACHEPROXY_UPSTEAM", "CACHEPROXY_UPSTREAM"),
        ("CACHEPROXY_REDIS_URL", "REDIS_URL"),
        ("CACHEPROXY_REDIS_PASSWORD_FILE", "REDIS_PASSWORD_FILE"),
        ("CACHEPROXY_ADMIN_TOKENS_FILE", "CACHEPROXY_ADMIN_TOKEN_FILE"),
        ("CACHEPROXY_WORKERS", ""),
        ("CACHEPROXY_REDIS", ""),
        ("CACHEPROXY_ADMIN_TOKEN_FILE", ""),
        ("CACHEPROXY_SERVICE_HOST", ""),
        ("CACHEPROXY_ADMIN_SERVICE_PORT", ""),
        ("CACHEPROXY_COLOUR", ""),
        ("WORKERS", ""),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_cautioned_against(name: str, meant: str) -> None:
    """A slip changes nothing and nobody is told; what others put into the environment is no slip."""
    said = [(fault.path, fault.message.partition("mean ")[2]) for fault in misspelt({name: "4"})]
    assert said == ([(name, f"`{meant}`?")] if meant else [])


def test_what_kubernetes_says_of_its_services_is_no_slip() -> None:
    """A service by the name of cacheproxy-redis gives every pod such variables."""
    assert list(misspelt({"CACHEPROXY_REDIS_PORT": "tcp://10.0.0.1:6379"})) == []


def test_two_replicas_on_one_machine_have_two_names() -> None:
    """The name is the host's and something random, unless it is given."""
    assert Settings.load().instance_id != Settings.load().instance_id
    assert Settings.load(instance_id="a").instance_id == "a"


@pytest.mark.parametrize(
    ("environ", "redis"),
    [
        ({"CACHEPROXY_REDIS": "redis://ours", "REDIS_URL": "redis://anybodys"}, "redis://ours"),
        ({"CACHEPROXY_REDIS": "", "REDIS_URL": "redis://anybodys"}, "redis://anybodys"),
        ({"cacheproxy_redis": "redis://small"}, "redis://small"),
        ({"cacheproxy_redis": "", "REDIS_URL": ""}, "embedded"),
    ],
    ids=["the-first-name-wins", "empty-says-nothing", "case-does-not-matter", "nothing-said"],
)
def test_which_variable_counts(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], redis: str) -> None:
    """Our own name before the customary one, in any case, unless it is empty."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    urls = Settings.load().redis_urls()
    assert redis == (urls if isinstance(urls, str) else urls["cache"])
