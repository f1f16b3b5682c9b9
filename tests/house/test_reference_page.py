"""docs/reference.md names every setting, key and metric that there is, with the default that it has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from cacheproxy.admin import fleet
from cacheproxy.admin.families import COUNTERS, LEVELS
from cacheproxy.admin.metrics import Metrics
from cacheproxy.policy.model_cache import CacheModel
from cacheproxy.policy.model_limits import LimitModel
from cacheproxy.policy.model_warm import WarmModel
from cacheproxy.policy.models import (
    BatchModel,
    DefaultsModel,
    EventsModel,
    HealthModel,
    PolicyModel,
    PoolModel,
    RouteModel,
    SessionModel,
    TenantModel,
    TimeoutsModel,
    UpstreamModel,
)
from cacheproxy.policy.yaml import read_yaml
from cacheproxy.settings import Settings, variables, variables_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
MAPPINGS: dict[str, type[BaseModel]] = {
    "The file": PolicyModel,
    "`upstream`": UpstreamModel,
    "`upstream.timeouts`": TimeoutsModel,
    "`upstream.pool`": PoolModel,
    "`upstream.health`": HealthModel,
    "`session`": SessionModel,
    "`tenant`": TenantModel,
    "`limits.*`": LimitModel,
    "`defaults`": DefaultsModel,
    "`routes.*`": RouteModel,
    "`routes.*.cache`": CacheModel,
    "`routes.*.batch`": BatchModel,
    "`events`": EventsModel,
    "`warm`": WarmModel,
}
RANDOM = {"CACHEPROXY_INSTANCE_ID", "CACHEPROXY_LOOP_ID"}
CODE = re.compile(r"`([^`]+)`")


def rows(section: str) -> Iterator[tuple[list[str], str]]:
    """What each row of a section's table names, and what it says in its second cell."""
    text = re.split(r"^#{2,3} ", PAGE.split(f"# {section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    for row in re.findall(r"^\| (?=`)(.*)\|$", text, re.MULTILINE):
        first, second, *_ = re.split(r"(?<!\\)\|", row)
        yield CODE.findall(re.sub(r"\(`--\w+`\)", "", first)), second.strip()


def default(field: FieldInfo) -> object:
    """What is in force where nothing is written."""
    return field.get_default(call_default_factory=True)


def read_as(field: FieldInfo, written: str) -> object:
    """What ``written`` in a policy file comes to as the value of ``field``."""
    document, _ = read_yaml(written, "page", {})
    annotation: Any = field.annotation
    adapter: TypeAdapter[object] = TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)
    return adapter.validate_python(document.data)


@pytest.mark.parametrize("section", MAPPINGS)
def test_every_key_of_a_mapping_has_a_row(section: str) -> None:
    """And no row a key that would be refused."""
    keys = {field.alias or name for name, field in MAPPINGS[section].model_fields.items()}
    assert sorted(key for names, _ in rows(section) for key in names) == sorted(keys)


@pytest.mark.parametrize("section", MAPPINGS)
def test_a_default_is_the_one_in_force(section: str) -> None:
    """Where the page writes one it is that of the code, and where it writes none there is none."""
    fields = {field.alias or name: field for name, field in MAPPINGS[section].model_fields.items()}
    for names, said in rows(section):
        written = CODE.fullmatch(said)
        for field in (fields[name] for name in names):
            if written:
                assert read_as(field, written[1]) == default(field), names
            else:
                assert field.is_required() == (said == "required"), names
                assert field.is_required() or not said.startswith("`"), names


def test_every_setting_has_a_row() -> None:
    """Under all its names, and with the default that it has."""
    told = {name: said for names, said in rows("Settings") for name in names}
    del told["CACHE_TTL_<ROUTE>"]
    files = set(re.findall(r"`(\w+_FILE)`", PAGE))
    assert told.keys() | files == variables()
    for name, field in Settings.model_fields.items():
        variable = variables_of(name)[0]
        written = CODE.fullmatch(told[variable])
        if written and variable != "CACHEPROXY_REDIS":
            assert getattr(Settings.model_validate({name: written[1]}), name) == default(field), variable
        else:
            assert default(field) is None or variable in RANDOM | {"CACHEPROXY_REDIS"}, variable


def test_every_metric_has_a_row() -> None:
    """With its labels."""
    exposed = set(re.findall(r"^# TYPE ((?:cache|request)\S+) ", Metrics().render().decode(), re.MULTILINE))
    of_workers = set(re.findall(r'MetricFamily\("(\w+)"', Path(fleet.__file__).read_text()))
    told = {name.removesuffix("_total"): CODE.findall(labels) for names, labels in rows("Metrics") for name in names}
    assert {name.removesuffix("_total") for name in exposed | of_workers} == told.keys()
    for family in (*COUNTERS.values(), *LEVELS.values()):
        assert told[family.name] == list(family.labels)
