"""Argo's examples that call an outside host, in copies of ours that call a local one: it hears of every hook once."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from tests.e2e.cluster import Cluster, nodes

pytestmark = pytest.mark.services


class Listener:
    """An HTTP server that remembers what it was told, and says a token again."""

    def __init__(self) -> None:
        heard: list[tuple[str, dict[str, str], str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._hear()

            def do_POST(self) -> None:
                self._hear()

            def _hear(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                heard.append((self.path, dict(self.headers.items()), body))
                self.send_response(200)
                answer = self.headers.get("X-Robot", "ok").encode("latin-1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.heard = heard
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def paths(self) -> list[str]:
        return sorted(path for path, _, _ in self.heard)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()


def call(name: str, url: str) -> str:
    return f"    - name: {name}\n      http: {{url: {url}}}\n"


def test_hooks_of_a_workflow_run_when_it_runs_and_when_it_ends(cluster: Cluster, listener: Listener) -> None:
    [workflow] = cluster.run(
        f"""
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: hooks-of-a-workflow-}}
spec:
  entrypoint: main
  hooks:
    exit: {{template: at-exit}}
    running: {{expression: workflow.status == "Running", template: at-running}}
    failed: {{expression: workflow.status == "Failed", template: at-failed}}
  templates:
    - name: main
      steps: [[{{name: step1, template: heads}}]]
    - name: heads
      container: {{image: debian, command: [sh, -c], args: ["echo it was heads; sleep 0.2"]}}
{"".join(call(f"at-{n}", f"{listener.url}/{n}") for n in ("exit", "running", "failed"))}
"""
    )
    assert workflow["status"]["phase"] == "Succeeded"
    assert listener.paths() == ["/exit", "/running"]
    found = nodes(workflow)
    assert found[".hooks.running"]["phase"] == found[".onExit"]["phase"] == "Succeeded"
    assert ".hooks.failed" not in found


def test_hooks_of_steps_run_for_each_state(cluster: Cluster, listener: Listener) -> None:
    [workflow] = cluster.run(
        f"""
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: hooks-of-steps-}}
spec:
  entrypoint: main
  templates:
    - name: main
      steps:
        - - name: step-1
            template: echo
            hooks:
              running: {{expression: 'steps["step-1"].status == "Running"', template: running-1}}
              success: {{expression: 'steps["step-1"].status == "Succeeded"', template: success-1}}
        - - name: step2
            template: echo
            hooks:
              running: {{expression: steps.step2.status == "Running", template: running-2}}
              success: {{expression: steps.step2.status == "Succeeded", template: success-2}}
    - name: echo
      container: {{image: debian, command: [echo, it was heads]}}
{"".join(call(n, f"{listener.url}/{n}") for n in ("running-1", "success-1", "running-2", "success-2"))}
"""
    )
    assert workflow["status"]["phase"] == "Succeeded"
    assert listener.paths() == ["/running-1", "/running-2", "/success-1", "/success-2"]


def test_a_handler_tells_a_chat_how_it_went(cluster: Cluster, listener: Listener) -> None:
    [workflow] = cluster.run(
        f"""
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: tell-a-chat-}}
spec:
  entrypoint: say-hello
  onExit: tell
  templates:
    - name: say-hello
      container: {{image: debian, command: [echo, hello]}}
    - name: tell
      http:
        url: {listener.url}/hook
        method: POST
        headers: [{{name: Content-Type, value: application/x-www-form-urlencoded}}]
        body: 'payload={{"text": "{{{{workflow.name}}}} {{{{workflow.status}}}}"}}'
"""
    )
    [(path, headers, body)] = listener.heard
    assert path == "/hook"
    assert headers["Idempotency-Key"]
    [payload] = parse_qs(body)["payload"]
    assert json.loads(payload) == {"text": f"{workflow['metadata']['name']} Succeeded"}
