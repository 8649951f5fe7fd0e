"""What deploy/ says is true: valid for Kubernetes, and every command, port and variable in it exists in the code."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from exeunt.service.settings import describe, split_address
from tests.deploy.rendered import PODS, by_kubectl, of_kind, rendered, selects, workloads

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ["base", "one-node"]
NATS_OF = {"base": "nats", "one-node": "nats-one"}
SERVICES = ["scheduler", "exithandler", "executor"]
KUBERNETES = "1.31"
NATS = ["nats.conf", "kubernetes/base/nats.conf", "kubernetes/one-node/nats.conf"]
KEY = "EXEUNT_SECRET_KEY"


def variables(service: str) -> set[str]:
    settings = importlib.import_module(f"exeunt.{service}.settings").Settings
    return {s.variable for s in describe(settings)}


def container(overlay: str, service: str) -> dict[str, Any]:
    [found] = workloads(overlay)[service]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is what people use")
@pytest.mark.parametrize("overlay", [*OVERLAYS, "monitoring"])
def test_it_is_what_kubectl_makes(overlay: str) -> None:
    """But for the hashes in the names of generated ConfigMaps, and the order of variables."""
    text = yaml.safe_dump(by_kubectl(overlay))
    ours = rendered(overlay)
    for name in (d["metadata"]["name"] for d in ours if d["kind"] == "ConfigMap"):
        text = re.sub(rf"\b{name}-[a-z0-9]{{10}}\b", name, text)
    assert in_order(yaml.safe_load(text)) == in_order(ours)


def in_order(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for document in (d for d in documents if d["kind"] in PODS):
        [found] = document["spec"]["template"]["spec"]["containers"]
        names = [e["name"] for e in found["env"]]
        for e in found["env"]:
            used = re.findall(r"\$\((\w+)\)", e.get("value", ""))
            before = names[: names.index(e["name"])]
            assert set(used) <= set(before), "Kubernetes fills in what stands before"
        found["env"].sort(key=lambda e: e["name"])
    return sorted(documents, key=lambda d: (d["kind"], d["metadata"]["name"]))


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
    if service != "executor":
        assert environ["EXEUNT_INTERNAL"].endswith(f":{ports['internal']}")
        assert environ["EXEUNT_ADVERTISE"].endswith(f":{ports['internal']}")
    assert environ["EXEUNT_METRICS"].endswith(f":{ports['metrics']}")
    for probe in ("startupProbe", "livenessProbe"):
        assert found[probe]["grpc"] == {"port": ports["grpc"]}


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("scheduler", "v1.WorkflowService"),
        ("exithandler", "v1.ExitService"),
        ("executor", "internal.v1.ExecutorService"),
    ],
)
def test_readiness_asks_for_the_service(service: str, name: str) -> None:
    assert container("base", service)["readinessProbe"]["grpc"]["service"] == f"exeunt.{name}"


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


@pytest.mark.parametrize(("overlay", "copies"), [("base", "3"), ("one-node", "1")])
def test_services_know_how_many_of_each_there_are(overlay: str, copies: str) -> None:
    made = workloads(overlay)
    for service in ("scheduler", "exithandler"):
        environ = {e["name"]: e.get("value", "") for e in container(overlay, service)["env"]}
        assert environ[f"EXEUNT_EXPECTED_{service.upper()}S"] == str(made[service]["spec"]["replicas"])
        assert environ["EXEUNT_REPLICAS"] == copies == str(made[NATS_OF[overlay]]["spec"]["replicas"])


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


PASSWORD = {"secretKeyRef": {"name": "nats", "key": "password"}}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", ["scheduler", "exithandler"])
def test_services_log_in_to_nats_with_the_password_that_nats_has(overlay: str, service: str) -> None:
    given = container(overlay, NATS_OF[overlay])["env"]
    names = [e["name"] for e in given]
    assert given[names.index("PASSWORD")]["valueFrom"] == PASSWORD
    assert given[names.index("NATS_PASSWORD")]["value"] == "'$(PASSWORD)'", "or nats.conf takes 1e3 for a number"
    environ = {e["name"]: e for e in container(overlay, service)["env"]}
    assert environ["EXEUNT_NATS_PASSWORD"]["valueFrom"] == PASSWORD
    url = urlsplit(environ["EXEUNT_NATS_URL"]["value"])
    assert (url.username, url.hostname, url.port) == ("exeunt", NATS_OF[overlay], 4222)


# --- one overlay over another, and off again --------------------------------------------------------------------------


def test_what_has_state_has_names_of_its_own_in_each_overlay() -> None:
    """Or applying one over the other hands NATS a store that it clears away."""
    claims = []
    for overlay, name in NATS_OF.items():
        made = workloads(overlay)[name]
        assert made["spec"]["selector"]["matchLabels"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
        claims.append(f"{made['spec']['volumeClaimTemplates'][0]['metadata']['name']}-{name}-")
        for service in of_kind(overlay, "Service"):
            others = [labels for other in OVERLAYS if other != overlay for labels in [pods(other)[NATS_OF[other]]]]
            assert not any(service["spec"]["selector"].items() <= labels.items() for labels in others)
    assert len(set(claims)) == len(OVERLAYS)
    assert not {d["metadata"]["name"] for d in rendered("base") if "nats" in str(d["metadata"])} & {
        d["metadata"]["name"] for d in rendered("one-node") if "nats" in str(d["metadata"])
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_deleting_an_overlay_takes_nothing_along_that_cannot_be_made_again(overlay: str) -> None:
    kinds = {d["kind"] for d in rendered(overlay)}
    assert not kinds & {"Namespace", "Secret", "PersistentVolumeClaim"}
    for found in of_kind(overlay, "StatefulSet"):
        kept = found["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_the_namespace_is_made_apart() -> None:
    [made] = [yaml.safe_load((DEPLOY / "kubernetes" / "namespace.yaml").read_text())]
    assert made["metadata"]["name"] == rendered("base")[0]["metadata"]["namespace"]
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# --- who reaches whom -------------------------------------------------------------------------------------------------


def pods(overlay: str) -> dict[str, dict[str, str]]:
    """The labels of the pods, by what runs them."""
    return {name: made["spec"]["template"]["metadata"]["labels"] for name, made in workloads(overlay).items()}


def allowed(overlay: str, source: dict[str, str], target: str, port: str) -> bool:
    """Whether the policies let a pod with these labels connect to a port, by its name, of another one."""
    labels = pods(overlay)[target]
    policies = [p["spec"] for p in of_kind(overlay, "NetworkPolicy") if selects(p["spec"]["podSelector"], labels)]
    assert policies, f"{target} is open to everybody"
    return any(
        any(p["port"] == port for p in rule["ports"])
        and any(selects(peer["podSelector"], source) for peer in rule.get("from", [{"podSelector": {}}]))
        for policy in policies
        for rule in policy["ingress"]
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_let_through_what_the_services_use_and_nothing_else(overlay: str) -> None:
    nats, known = NATS_OF[overlay], pods(overlay)
    used = {
        ("scheduler", nats, "client"),
        ("scheduler", nats, "monitor"),
        ("exithandler", nats, "client"),
        ("scheduler", "scheduler", "internal"),
        ("scheduler", "exithandler", "internal"),
        ("exithandler", "scheduler", "internal"),
        ("exithandler", "exithandler", "internal"),
        ("executor", "scheduler", "internal"),
    }
    if overlay == "base":
        used.add((nats, nats, "cluster"))
    ports = {name: [p["name"] for p in container(overlay, name)["ports"]] for name in known}
    for target, names in ports.items():
        for port in names:
            for source, labels in known.items():
                wanted = port == "metrics" or (source, target, port) in used
                assert allowed(overlay, labels, target, port) == wanted, (source, target, port)
            assert allowed(overlay, {}, target, port) == (port == "metrics"), "of a stranger's pod"
            client = {"exeunt.dev/client": "true"}
            assert allowed(overlay, client, target, port) == (port == "metrics" or (target, port) in CALLED)


CALLED = {("scheduler", "grpc"), ("exithandler", "grpc")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_leads_to_a_port_of_its_pods(overlay: str) -> None:
    for service in of_kind(overlay, "Service"):
        [name] = [n for n, labels in pods(overlay).items() if service["spec"]["selector"].items() <= labels.items()]
        ports = {p["name"] for p in container(overlay, name)["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


# --- what is scraped --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operator_scrapes_every_service_that_alerts_look_at(overlay: str) -> None:
    [monitor] = list(of_kind("monitoring", "PodMonitor"))
    scraped = {name for name, labels in pods(overlay).items() if selects(monitor["spec"]["selector"], labels)}
    assert scraped == set(SERVICES)
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    for service in scraped:
        assert endpoint["port"] in {p["name"] for p in container(overlay, service)["ports"]}
    assert monitor["metadata"]["namespace"] == rendered(overlay)[0]["metadata"]["namespace"]


# --- pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_no_account_no_links_and_bounds(overlay: str) -> None:
    for name, made in workloads(overlay).items():
        pod = made["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        [found] = pod["containers"]
        for bound in ("memory", "ephemeral-storage"):
            assert found["resources"]["limits"][bound], name
        for volume in pod["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], name


@pytest.mark.parametrize("name", ["nats", *SERVICES])
def test_copies_are_spread(name: str) -> None:
    made = workloads("base")[name]["spec"]["template"]
    [spread] = made["spec"]["topologySpreadConstraints"]
    assert selects(spread["labelSelector"], made["metadata"]["labels"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_image_of_ours_is_looked_for_at_somebody_elses(overlay: str) -> None:
    for service in SERVICES:
        assert container(overlay, service)["image"].startswith("localhost/")


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", ["scheduler", "exithandler"])
@pytest.mark.parametrize("ip", ["10.1.2.3", "fd00::7"])
def test_an_address_of_either_kind_is_told_to_the_others(overlay: str, service: str, ip: str) -> None:
    environ = {e["name"]: e.get("value", "") for e in container(overlay, service)["env"]}
    found = environ["EXEUNT_ADVERTISE"].replace("$(POD_IP)", ip)
    assert split_address(found)[0] == ip


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi|KiB|MiB|GiB|KB|MB|GB)", text).groups()  # type: ignore[union-attr]
    base = 1024 if "i" in unit else 1000
    return int(number) * base ** ("KMG".index(unit[0]) + 1)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nats_stays_within_its_memory_and_its_disk(overlay: str) -> None:
    found = container(overlay, NATS_OF[overlay])
    environ = {e["name"]: e.get("value", "") for e in found["env"]}
    conf = (DEPLOY / "kubernetes" / overlay / "nats.conf").read_text()
    stored = {k: size(v) for k, v in re.findall(r"max_(file|memory)_store: (\S+)", conf)}
    [claim] = workloads(overlay)[NATS_OF[overlay]]["spec"]["volumeClaimTemplates"]
    memory = size(found["resources"]["limits"]["memory"])
    assert size(environ["GOMEMLIMIT"]) + stored["memory"] // 2 < memory
    assert stored["file"] < size(claim["spec"]["resources"]["requests"]["storage"]), "or a full store"


def test_a_node_of_nats_hands_over_before_it_ends() -> None:
    conf = (DEPLOY / "kubernetes" / "base" / "nats.conf").read_text()
    found = container("base", "nats")
    [pid_file] = re.findall(r"^pid_file: (\S+)$", conf, re.MULTILINE)
    assert found["lifecycle"]["preStop"]["exec"]["command"] == ["nats-server", "--signal", f"ldm={pid_file}"]
    assert any(pid_file.startswith(mount["mountPath"]) for mount in found["volumeMounts"])
    seconds = sum(int(s) for s in re.findall(r"^lame_duck_(?:duration|grace_period): (\d+)s$", conf, re.MULTILINE))
    assert seconds < workloads("base")["nats"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
