"""The image and the Compose file: what they run exists, runs as nobody, and is watched."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from cacheproxy.settings import Settings

ROOT = Path(__file__).parents[2]
CORE = ("redis", "articles", "cacheproxy")
OBSERVABILITY = ("prometheus", "grafana")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order, each on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, rest) for name, rest in lines]


def last_stage() -> list[tuple[str, str]]:
    """The instructions of the stage that is shipped."""
    every = instructions()
    start = max(number for number, (name, _) in enumerate(every) if name == "FROM")
    return every[start:]


def of_last_stage(name: str) -> list[str]:
    """What the shipped stage says in its ``name`` instructions."""
    return [rest for instruction, rest in last_stage() if instruction == name]


@pytest.fixture(scope="module")
def compose() -> dict:
    """The Compose file."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def setting_names() -> set[str]:
    """Every environment variable that our settings read."""
    names = set()
    for name, field in Settings.model_fields.items():
        aliases = getattr(field.validation_alias, "choices", None)
        names |= {str(alias) for alias in aliases} if aliases else {f"CACHEPROXY_{name.upper()}"}
    return names


def test_the_image_is_built_apart_from_what_is_shipped():
    """Two stages of a slim base: nothing of the build but its result is in the image."""
    bases = [rest for name, rest in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert all("-slim" in base for base in bases)
    assert any("--from=build" in copied for copied in of_last_stage("COPY"))


def test_the_image_installs_from_the_lock_by_hash():
    """What is in the image is what the tests ran."""
    assert ("RUN", "pip install --require-hashes -r requirements.lock") in instructions()


def test_the_image_runs_as_nobody():
    """A number other than root's, which Kubernetes can see without looking into the image."""
    (user,) = of_last_stage("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_the_image_asks_our_own_command_for_its_health():
    """A slim image has no curl; the CLI is there."""
    (check,) = of_last_stage("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["cacheproxy", "health"]
    assert [json.loads(text) for text in of_last_stage("ENTRYPOINT")] == [["cacheproxy"]]


def test_the_image_sets_only_variables_that_are_read():
    """A misspelt variable would be ignored in silence."""
    named = [pair.partition("=")[0] for line in of_last_stage("ENV") for pair in shlex.split(line)]
    assert {name for name in named if name.startswith("CACHEPROXY_")} <= setting_names()
    assert "CACHEPROXY_CONFIG" in named


def test_what_is_copied_is_there_and_not_ignored():
    """The build context lets in what the Dockerfile copies, and nothing else."""
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {source.split("/")[0] for source in copied} == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_compose_watches_each_part(compose):
    """Every service has a health check; each waits until those that it needs are healthy."""
    services = compose["services"]
    assert tuple(services) == CORE + OBSERVABILITY
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in services.values())
    waits = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    assert waits == {
        "redis": set(),
        "articles": {"redis"},
        "cacheproxy": {"redis", "articles"},
        "prometheus": {"cacheproxy"},
        "grafana": {"prometheus"},
    }
    conditions = [each for service in services.values() for each in service.get("depends_on", {}).values()]
    assert all(condition == {"condition": "service_healthy"} for condition in conditions)


def test_compose_starts_the_core_unless_told_otherwise(compose):
    """Both profiles are whole: the second is the first and what looks at it."""
    started = {
        profile: tuple(name for name, service in compose["services"].items() if profile in service["profiles"])
        for profile in ("core", "observability")
    }
    assert started == {"core": CORE, "observability": CORE + OBSERVABILITY}
    assert "COMPOSE_PROFILES=core" in (ROOT / ".env").read_text().splitlines()


def test_compose_gives_its_parts_files_that_exist(compose):
    """A volume whose source is missing would become an empty directory."""
    volumes = [each for service in compose["services"].values() for each in service.get("volumes", ())]
    sources = {volume.split(":")[0] for volume in volumes}
    assert len(sources) == 4
    assert all((ROOT / source).exists() for source in sources)
    assert all(volume.endswith(":ro") for volume in volumes)


def test_prometheus_reaches_the_admin_port_where_it_is(compose):
    """On loopback, in the sidecar's own network, and Grafana reaches Prometheus there."""
    prometheus = compose["services"]["prometheus"]
    assert prometheus["network_mode"] == "service:cacheproxy"
    scrape = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    host, port = Settings.model_fields["admin"].default
    assert scrape["static_configs"] == [{"targets": [f"{host}:{port}"]}]
    (listens,) = [each for each in prometheus["command"] if each.startswith("--web.listen-address=:")]
    source = yaml.safe_load((ROOT / "config/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == f"http://cacheproxy:{listens.rpartition(':')[2]}"


def test_grafana_finds_the_dashboard_where_it_is_put(compose):
    """In the directory that its provider reads, and on the page it opens with."""
    grafana = compose["services"]["grafana"]
    (target,) = [volume.split(":")[1] for volume in grafana["volumes"] if ".json" in volume]
    provider = yaml.safe_load((ROOT / "config/grafana/provisioning/dashboards/cacheproxy.yml").read_text())
    assert target.startswith(provider["providers"][0]["options"]["path"] + "/")
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == target


def test_compose_runs_redis_as_a_cache(compose):
    """Bounded, and evicting the least recently used of all keys."""
    command = ["redis-server", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]
    assert compose["services"]["redis"]["command"] == command


def test_compose_sets_only_variables_that_are_read(compose):
    """The sidecar's settings are ones it has."""
    assert compose["services"]["cacheproxy"]["environment"].keys() <= setting_names()


@pytest.mark.parametrize("name", ["articles", "cacheproxy"])
def test_our_own_containers_may_do_little(compose, name):
    """No writing, no capabilities, no way to gain any."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_gives_the_sidecar_time_to_drain(compose):
    """Longer than the sidecar gives the requests in flight."""
    grace = compose["services"]["cacheproxy"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings.model_fields["drain_timeout"].default


def test_the_sample_service_is_started_by_a_factory_that_exists(compose):
    """The name given to uvicorn is one that can be called."""
    from cacheproxy.demo import service

    target = next(part for part in compose["services"]["articles"]["entrypoint"] if ":" in part)
    module, factory = target.split(":")
    assert module == service.__name__
    assert callable(getattr(service, factory))
