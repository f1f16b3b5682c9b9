"""What we ship for Compose, Kubernetes and Grafana is what their published schemas allow."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("schemas.lock")
ENVIRONMENT = Path(sys.prefix) / "schemas"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def checkers() -> Path:
    """The directory of the checkers' programs: an environment of their own, made once for each state of the lock."""
    stamp = ENVIRONMENT / "lock"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True, timeout=60)
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True, timeout=180)
        stamp.write_bytes(LOCK.read_bytes())
    return ENVIRONMENT / "bin"


def check(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """What a checker says."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)


def compose_check(checkers: Path, file: Path) -> "subprocess.CompletedProcess[str]":
    """What the Compose specification's schema says of a file."""
    return check(checkers / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def kubernetes_check(checkers: Path, file: Path, version: str) -> "subprocess.CompletedProcess[str]":
    """What one version of Kubernetes says of a file; members that it does not know are faults."""
    return check(checkers / "kubernetes-validate", "--strict", "-k", version, file)


def test_the_compose_file_is_one(checkers):
    """By the Compose specification's own schema."""
    done = compose_check(checkers, ROOT / "docker-compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_member_of_the_compose_file_would_be_seen(checkers, tmp_path):
    """The check above can fail."""
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace("healthcheck:", "healtcheck:"))
    assert compose_check(checkers, wrong).returncode != 0


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.33", "1.35", "1.37"])
def test_the_manifest_is_one(checkers, version):
    """By the schemas of every other Kubernetes release since native sidecars were on by default."""
    done = kubernetes_check(checkers, ROOT / "deploy/kubernetes.yaml", version)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_member_of_the_manifest_would_be_seen(checkers, tmp_path):
    """The check above can fail."""
    wrong = tmp_path / "kubernetes.yaml"
    wrong.write_text((ROOT / "deploy/kubernetes.yaml").read_text().replace("startupProbe:", "startUpProbe:"))
    assert kubernetes_check(checkers, wrong, "1.33").returncode != 0


@pytest.mark.parametrize(
    "file", sorted((ROOT / "config/grafana/provisioning").rglob("*.yml")), ids=lambda path: path.name
)
def test_grafanas_provisioning_is_of_its_version(file):
    """No package brings its schema: at least the version that Grafana asks for is there, and one list beside it."""
    found = yaml.safe_load(file.read_text())
    assert found.pop("apiVersion") == 1
    ((kind, listed),) = found.items()
    assert kind in {"datasources", "providers"}
    assert all({"name", "type"} <= each.keys() for each in listed)
