"""The manifest for Kubernetes: a native sidecar that starts first, ends last, and may do little."""

from pathlib import Path

import pytest
import yaml

from cacheproxy.admin.access import OPEN_PATHS
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.units import duration_s
from cacheproxy.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = {each["kind"]: each for each in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(SIDECAR,) = POD["initContainers"]
(SERVICE,) = POD["containers"]
ENV = {each["name"]: each for each in SIDECAR["env"]}


def setting_names() -> set[str]:
    """Every environment variable that our settings read."""
    names = set()
    for name, field in Settings.model_fields.items():
        aliases = getattr(field.validation_alias, "choices", None)
        names |= {str(alias) for alias in aliases} if aliases else {f"CACHEPROXY_{name.upper()}"}
    return names


def test_the_sidecar_is_a_native_one():
    """It runs beside the service, from before its start until after its end."""
    assert SIDECAR["restartPolicy"] == "Always"
    assert SIDECAR["startupProbe"]["httpGet"]["path"] == "/readyz"


def test_its_policy_is_one():
    """The ConfigMap holds a policy without a fault, under the name that the sidecar is told."""
    (name,) = DOCUMENTS["ConfigMap"]["data"]
    policy, _router = load_policy(
        DOCUMENTS["ConfigMap"]["data"][name], name, {}, upstream_url=ENV["CACHEPROXY_UPSTREAM"]["value"]
    )
    assert [route.name for route in policy.routes] == ["article-list", "article", "article-write"]
    assert Path(ENV["CACHEPROXY_CONFIG"]["value"]).name == name


def test_a_changed_policy_reaches_the_sidecar():
    """The ConfigMap is mounted as a directory: with subPath it would stay as it was at the pod's start."""
    mounts = {mount["name"]: mount for mount in SIDECAR["volumeMounts"]}
    assert mounts["policy"]["mountPath"] == str(Path(ENV["CACHEPROXY_CONFIG"]["value"]).parent)
    assert all("subPath" not in mount for container in (SIDECAR, SERVICE) for mount in container["volumeMounts"])
    (volume,) = [volume for volume in POD["volumes"] if volume["name"] == "policy"]
    assert volume["configMap"]["name"] == DOCUMENTS["ConfigMap"]["metadata"]["name"]


def test_its_settings_are_ones_it_has(monkeypatch):
    """No variable is misspelt, and together they are accepted."""
    assert ENV.keys() <= setting_names()
    for name, each in ENV.items():
        monkeypatch.setenv(name, each.get("value", "redis://redis:6379/0" if name == "REDIS_URL" else "value"))
    settings = Settings.load()
    ports = {port["name"]: port["containerPort"] for port in SIDECAR["ports"]}
    assert {"http": settings.listen[1], "admin": settings.admin[1]} == ports


def test_secrets_come_from_a_secret():
    """No password or token stands in the manifest."""
    for container in (SIDECAR, SERVICE):
        for each in container["env"]:
            secret = each["name"] in {"REDIS_URL", "CACHEPROXY_ADMIN_TOKEN"}
            assert secret == ("secretKeyRef" in each.get("valueFrom", {}))
    assert "Secret" not in DOCUMENTS


def test_probes_need_no_token():
    """The kubelet has none: what it asks is open, and listens where it can be reached."""
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert SIDECAR[probe]["httpGet"]["path"] in OPEN_PATHS
        assert SIDECAR[probe]["httpGet"]["port"] == "admin"
    assert ENV["CACHEPROXY_ADMIN"]["value"].startswith(":")


def test_clients_reach_the_sidecar_and_only_it():
    """The Service leads to the sidecar's port; the service itself listens on loopback."""
    (port,) = DOCUMENTS["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"
    assert "ports" not in SERVICE
    command = SERVICE["command"]
    assert (
        f"http://{command[command.index('--host') + 1]}:{command[command.index('--port') + 1]}"
        == (ENV["CACHEPROXY_UPSTREAM"]["value"])
    )


def test_every_selector_selects_the_pods():
    """Service, Deployment and budget mean the same pods."""
    labels = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert DOCUMENTS["Service"]["spec"]["selector"] == labels
    assert DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_a_pod_has_time_to_end_without_losing_a_request():
    """First nobody sends it any more, then the service ends, then the sidecar gives requests in flight their time."""
    first_s = SERVICE["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = duration_s(ENV["CACHEPROXY_DRAIN_TIMEOUT"]["value"])
    assert first_s >= 5
    assert POD["terminationGracePeriodSeconds"] >= first_s + drain_s + 10


@pytest.mark.parametrize("container", [SIDECAR, SERVICE], ids=["sidecar", "service"])
def test_containers_may_do_little(container):
    """No root, no writing, no capabilities, no way to gain any; memory is bounded."""
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_the_pod_runs_as_the_images_user():
    """By number, with the default seccomp profile and no token of the cluster's API."""
    user = (ROOT / "Dockerfile").read_text().split("USER ")[1].split()[0]
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == user
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False


def test_memory_is_enough_for_the_cache_in_it():
    """The limit leaves the process itself at least half."""
    limit = int(SIDECAR["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    assert Settings.model_fields["l1_bytes"].default <= limit / 2
