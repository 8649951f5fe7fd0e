"""What deploy/ says is true: valid for Kubernetes, and every command, port and variable in it exists in the code."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exeunt.service.settings import describe

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ["base", "one-node"]
SERVICES = ["scheduler", "exithandler", "executor"]
KUBERNETES = "1.31"
NATS = ["nats.conf", "kubernetes/base/nats.conf", "kubernetes/one-node/nats.conf"]
KEY = "EXEUNT_SECRET_KEY"


def variables(service: str) -> set[str]:
    settings = importlib.import_module(f"exeunt.{service}.settings").Settings
    return {s.variable for s in describe(settings)}


def rendered(overlay: str) -> list[dict[str, Any]]:
    """As kubectl makes it; without kubectl the plain files of the base."""
    if shutil.which("kubectl"):
        done = subprocess.run(
            ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / overlay)], capture_output=True, text=True, check=True
        )
        return [d for d in yaml.safe_load_all(done.stdout) if d]
    files = sorted((DEPLOY / "kubernetes" / "base").glob("*.yaml"))
    documents = [d for f in files for d in yaml.safe_load_all(f.read_text()) if d and d.get("kind")]
    return [d for d in documents if d["kind"] != "Kustomization"]


def workloads(overlay: str) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for d in rendered(overlay) if d["kind"] in ("Deployment", "StatefulSet")}


def container(overlay: str, service: str) -> dict[str, Any]:
    [found] = workloads(overlay)[service]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_would_take_it(overlay: str) -> None:
    documents = rendered(overlay)
    assert {"StatefulSet", "Deployment", "Service"} <= {d["kind"] for d in documents}
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", SERVICES)
def test_commands_ports_and_variables_exist(overlay: str, service: str) -> None:
    found = container(overlay, service)
    assert found["args"] == ["serve", service]
    environ = {e["name"]: e.get("value", "") for e in found["env"]}
    assert {n for n in environ if n.startswith("EXEUNT_")} <= variables(service)
    ports = {p["name"]: p["containerPort"] for p in found["ports"]}
    assert environ["EXEUNT_LISTEN"].endswith(f":{ports['grpc']}")
    assert environ["EXEUNT_METRICS"].endswith(f":{ports['metrics']}")
    for probe in ("startupProbe", "livenessProbe"):
        assert found[probe]["grpc"] == {"port": ports["grpc"]}


@pytest.mark.parametrize(
    ("service", "name"),
    [("scheduler", "WorkflowService"), ("exithandler", "ExitService"), ("executor", "ExecutorService")],
)
def test_readiness_asks_for_the_service(service: str, name: str) -> None:
    assert container("base", service)["readinessProbe"]["grpc"]["service"] == f"exeunt.v1.{name}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_step_can_end_before_its_pod(service: str) -> None:
    """Longer than the 30 seconds of grace that a step has."""
    assert workloads("base")[service]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 30


def test_an_executor_has_the_time_that_its_settings_take() -> None:
    environ = {e["name"]: e.get("value", "") for e in container("base", "executor")["env"]}
    pod = workloads("base")["executor"]["spec"]["template"]["spec"]
    shutdown = float(environ["EXEUNT_SHUTDOWN_SECONDS"])
    assert float(environ["EXEUNT_DRAIN_SECONDS"]) <= shutdown / 2
    assert shutdown < pod["terminationGracePeriodSeconds"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl puts the overlays together")
@pytest.mark.parametrize(("overlay", "copies"), [("base", "3"), ("one-node", "1")])
def test_services_know_how_many_of_each_there_are(overlay: str, copies: str) -> None:
    made = workloads(overlay)
    for service in ("scheduler", "exithandler"):
        environ = {e["name"]: e.get("value", "") for e in container(overlay, service)["env"]}
        assert environ[f"EXEUNT_EXPECTED_{service.upper()}S"] == str(made[service]["spec"]["replicas"])
        assert environ["EXEUNT_REPLICAS"] == copies == str(made["nats"]["spec"]["replicas"])


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_runs_as_root(service: str) -> None:
    pod = workloads("base")[service]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for found in pod["containers"]:
        assert found["securityContext"]["allowPrivilegeEscalation"] is False
        assert found["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_those_who_read_secrets_have_one_key_and_nobody_else_has_it(overlay: str) -> None:
    given = {s: [e["valueFrom"] for e in container(overlay, s)["env"] if e["name"] == KEY] for s in SERVICES}
    assert given["scheduler"] == given["exithandler"]
    assert given["executor"] == []
    [source] = given["scheduler"]
    reference = source["secretKeyRef"]
    assert reference["optional"] is True, "without the key the services start, and refuse secrets"
    command = f"create secret generic {reference['name']} --from-literal={reference['key']}="
    assert command in (DEPLOY / "README.md").read_text()


def test_compose_hands_the_key_to_those_who_read_secrets() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    given = {name: services[name]["environment"].get(KEY) for name in SERVICES}
    assert given == {"scheduler": "${EXEUNT_SECRET_KEY:-}", "exithandler": "${EXEUNT_SECRET_KEY:-}", "executor": None}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_have_the_tokens_that_they_need_and_no_others(overlay: str) -> None:
    given = {}
    for service in SERVICES:
        found = [e for e in container(overlay, service)["env"] if "TOKEN" in e["name"]]
        named = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in found}
        assert all(one["name"] == "exeunt-tokens" and "optional" not in one for one in named.values())
        given[service] = {name: one["key"] for name, one in named.items()}
    everyone, executors = {"EXEUNT_TOKEN": "token"}, {"EXEUNT_EXECUTOR_TOKEN": "executor"}
    assert given == {"scheduler": everyone | executors, "exithandler": everyone, "executor": everyone | executors}
    text = (DEPLOY / "README.md").read_text()
    assert all(f"--from-literal={key}=" in text for key in ("token", "executor"))


def test_compose_starts_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in SERVICES:
        found = compose["services"][service]
        assert found["command"] == ["serve", service]
        assert set(found["environment"]) <= variables(service)


def test_the_image_is_built_from_files_that_exist() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    for name in re.findall(r"requirements/\S+\.txt", text):
        assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", NATS)
def test_nats_syncs_before_it_acknowledges(name: str) -> None:
    assert re.search(r"^\s*sync_interval: always$", (DEPLOY / name).read_text(), re.MULTILINE)
    binary = Path(shutil.which("nats-server") or ROOT / ".venv" / "bin" / "nats-server")
    done = subprocess.run(
        [str(binary), "-t", "-c", str(DEPLOY / name)],
        env={"SERVER_NAME": "nats-0", "NATS_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_accounts_are_the_same_everywhere() -> None:
    assert len({(DEPLOY / name).read_text().partition("\naccounts {")[2] for name in NATS}) == 1


@pytest.mark.parametrize("service", ["scheduler", "exithandler"])
def test_services_log_in_to_nats_with_the_password_that_nats_has(service: str) -> None:
    for found in (container("base", service), container("base", "nats")):
        [password] = [e for e in found["env"] if e["name"] == "NATS_PASSWORD"]
        assert password["valueFrom"] == {"secretKeyRef": {"name": "nats", "key": "password"}}
    environ = {e["name"]: e.get("value", "") for e in container("base", service)["env"]}
    names = list(environ)
    assert environ["EXEUNT_NATS_URL"] == "nats://exeunt:$(NATS_PASSWORD)@nats:4222"
    assert names.index("NATS_PASSWORD") < names.index("EXEUNT_NATS_URL"), "Kubernetes fills in what stands before"
