"""A secret goes where it is named and nowhere else: not into NATS, files, logs, events, ledger, or what is shown."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import nats
import pytest

from tests.e2e.cluster import ROOT, Cluster, nodes
from tests.e2e.test_hooks_over_http import Listener, listener

__all__ = ["listener"]

pytestmark = pytest.mark.services

TOKEN = 'tok/4711 "geheim" & wichtig'
PIN = "pin-0815-geheim"
SIGN = "a-signing-key-of-24-bytes-at-least"
MANIFEST = """
apiVersion: v1
kind: Secret
metadata:
  name: api
  annotations: {kubectl.kubernetes.io/last-applied-configuration: @TOKEN@}
type: Opaque
stringData: {token: @TOKEN@, sign: @SIGN@}
data: {pin: @PIN@}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {LEVEL: debug}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: secretive-}
spec:
  entrypoint: main
  onExit: bye
  templates:
    - name: main
      steps:
        - - {name: show, template: show}
          - {name: call, template: call}
          - {name: break, template: break}
      parallelism: 3
    - name: show
      outputs: {parameters: [{name: copy, valueFrom: {path: copy.txt}}]}
      script:
        image: "python:3.12"
        command: [python]
        env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]
        envFrom: [{secretRef: {name: api}, prefix: S_}, {configMapRef: {name: conf}}]
        source: |
          import json, os, sys, urllib.request
          token = os.environ["TOKEN"]
          urllib.request.urlopen(urllib.request.Request("URL/show", json.dumps(dict(os.environ)).encode()))
          print(token, json.dumps({"a": token}), flush=True)
          print(os.environ["S_pin"], file=sys.stderr)
          open("copy.txt", "w").write(token)
    - name: call
      http:
        url: URL/call
        headers: [{name: X-Robot, valueFrom: {secretKeyRef: {name: api, key: token}}}]
    - name: break
      container:
        image: "python:3.12"
        command: [sh, -c, 'echo "$TOKEN"; echo "$0" >&2; exit 3', "$(TOKEN)"]
        env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]
    - name: bye
      steps:
        - - {name: call, template: call}
          - {name: hook, template: hook}
          - {name: show, template: show}
          - {name: missing, template: missing}
    - name: hook
      plugin:
        webhook:
          url: URL/hook
          secretFrom: {secretKeyRef: {name: api, key: sign}}
          data: {failures: "{{workflow.failures}}"}
    - name: missing
      http:
        url: URL/never
        headers: [{name: X-Robot, valueFrom: {secretKeyRef: {name: api, key: nope}}}]
"""


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One whose files are this test's alone."""
    cluster = Cluster(tmp_path / "data", arguments=["--log-level=debug"])
    cluster.up()
    yield cluster
    cluster.down()


def forms(value: str) -> set[bytes]:
    """A value as it may turn up: plain, quoted, in JSON, and in base64 wherever it begins."""
    found = {
        value,
        quote(value),
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        json.dumps(json.dumps(value)[1:-1])[1:-1],
    }
    coded = [base64.b64encode(b" " * pad + value.encode()).decode() for pad in range(3)]
    return {form.encode() for form in found | {text[4 : len(text) - 4] for text in coded}}


async def stored(url: str) -> list[bytes]:
    """Every message of every stream, headers and subjects too."""
    client = await nats.connect(url)
    js = client.jetstream()
    found: list[bytes] = []
    for info in await js.streams_info():
        for sequence in range(max(info.state.first_seq, 1), info.state.last_seq + 1):  # an empty one begins at 0
            try:
                message = await js.get_msg(info.config.name, sequence)
            except nats.js.errors.NotFoundError:
                continue
            found.append(f"{message.subject} {message.headers} ".encode() + (message.data or b""))
    await client.close()
    return found


def grep(folder: Path, patterns: str) -> list[str]:
    """The files that hold any of these texts."""
    command = ["grep", "-rlaFf", "-", str(folder)]
    done = subprocess.run(command, input=patterns, text=True, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.split()


def test_a_secret_is_used_and_never_kept(own_cluster: Cluster, listener: Listener) -> None:
    cluster = own_cluster
    given = {"TOKEN": json.dumps(TOKEN), "SIGN": SIGN, "PIN": base64.b64encode(PIN.encode()).decode()}
    text = re.sub("@([A-Z]+)@", lambda match: given[match[1]], MANIFEST).replace("URL", listener.url)
    [workflow] = cluster.run(text)
    name = workflow["metadata"]["name"]
    found = nodes(workflow)

    heard = {path: [(headers, body) for p, headers, body in listener.heard if p == path] for path in listener.paths()}
    assert set(heard) == {"/show", "/call", "/hook"}
    assert [json.loads(body)["TOKEN"] for _, body in heard["/show"]] == [TOKEN, TOKEN]
    assert [(json.loads(b)["S_pin"], json.loads(b)["LEVEL"]) for _, b in heard["/show"]] == [(PIN, "debug")] * 2
    assert [headers["X-Robot"] for headers, _ in heard["/call"]] == [TOKEN, TOKEN]

    assert found["[0].show"]["outputs"]["parameters"][0]["value"] == "***"
    assert found["[0].call"]["outputs"]["result"] == "***"
    assert found["[0].break"]["message"] == "main: Error (exit code 3)"
    missing = found[".onExit[0].missing"]
    assert missing["phase"] == "Error"
    assert missing["message"] == "http.headers[0] (X-Robot): the secret 'api' has no key 'nope'"
    logs = cluster.call("logs", name).stdout
    assert logs.count("***") >= 6

    shown = [
        json.dumps(workflow),
        logs,
        *(cluster.call(*command).stdout for command in (
            ("get", name, "-o", "json"), ("get", name), ("events", "-o", "json"), ("exits", "list", "-o", "json"),
            ("exits", "get", cluster.exits()[0]["id"], "-o", "json"), ("list", "-o", "json"),
        )),
    ]  # fmt: skip
    assert all(shown)
    messages = asyncio.run(stored(cluster.facts()["nats"]["url"]))
    assert sum(b"xt.Secret.default." in m for m in messages) == 1
    assert len(messages) > 50
    secrets = forms(TOKEN) | forms(PIN) | forms(SIGN)
    everything = [*(text.encode() for text in shown), *messages]
    assert not [(form, one) for one in everything for form in secrets if form in one]

    patterns = "\n".join(form.decode() for form in secrets)
    assert grep(cluster.data_dir, patterns) == []
    key = cluster.data_dir / "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert grep(cluster.data_dir, key.read_text().strip()) == [str(key)]


@pytest.mark.parametrize(
    ("example", "host", "header"),
    [
        ("github-status", "https://api.github.com", {"Authorization": "Bearer your-token"}),
        ("gitlab-status", "https://gitlab.com", {"PRIVATE-TOKEN": "your-token"}),
    ],
    ids=["github", "gitlab"],
)
def test_examples_of_commit_statuses_send_their_token(
    cluster: Cluster, listener: Listener, example: str, host: str, header: dict[str, str]
) -> None:
    text = (ROOT / f"examples/actions/{example}.yaml").read_text()
    [workflow] = cluster.run(text.replace(host, listener.url))
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    [(path, headers, body)] = listener.heard
    assert path.endswith("/statuses/abc")
    assert header.items() <= headers.items()
    assert json.loads(body)["state"] == "success"
    assert "your-token" not in json.dumps(workflow)
