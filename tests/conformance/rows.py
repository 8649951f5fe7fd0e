"""What is to be done with each of Argo's examples: run, stored, or left out with a reason."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

HERE = frozenset(
    "none artifact:s3 artifact:http artifact:git volume:emptyDir volume:secret pvc init sidecar daemon".split()
)
"""What a row may need and be run: it is here, or a server of the test stands in for it."""
REASONS = {
    "k8s": "acts on the API of Kubernetes",
    "image": "needs a program of an image that is not here",
    "internet": "asks servers of the internet",
    "workflow-resource": "acts on the API of Kubernetes",
    "artifact:plugin": "artifact plugins are not run here",
    "artifact:hdfs": "there is no client of HDFS",
    "artifact:artifactory": "needs an account at Artifactory",
    "artifact:oss": "needs an account at Alibaba Cloud",
    "artifact:azure": "needs a server of Azure's interface",
    "artifact:gcs": "needs a server of Google's interface",
    "volume:persistentVolumeClaim": "names a claim that its author has made by hand",
}
"""Why a row that needs something is left out."""
LEFT_OUT = {
    "ci.yaml": "needs a compiler of Go",
    "dag-daemon-task.yaml": "needs influxd",
    "exit-handler-slack.yaml": "asks servers of the internet",
    "forever.yaml": "does not end",
    "http-success-condition.yaml": "asks servers of the internet",
    "influxdb-ci.yaml": "needs influxd and a compiler of Go",
    "input-artifact-git.yaml": "needs a compiler of Go",
    "intermediate-parameters.yaml": "waits for people",
    "sidecar-dind.yaml": "needs a Docker engine",
    "sidecar-nginx.yaml": "needs nginx",
    "sidecar.yaml": "needs influxd, and installs a package",
    "suspend-template-outputs.yaml": "waits for people",
    "suspend-template.yaml": "waits for people",
    "testvolume.yaml": "is a claim for a cluster's own storage",
    "webhdfs-input-output-artifacts.yaml": "needs an account at its author's WebHDFS",
    "workflow-count-resourcequota.yaml": "acts on the API of Kubernetes",
}
"""Rows that are left out for a reason of their own."""
BY_CHANCE = frozenset(
    """resubmit.yaml retry-conditional.yaml retry-container.yaml retry-script.yaml retry-on-error.yaml
    retry-with-steps.yaml retry-backoff.yaml work-avoidance.yaml template-defaults.yaml template-on-exit.yaml""".split()
)
"""Rows with a program that fails now and then: either end is right."""
ENDS = {
    "continue-on-fail.yaml": "Succeeded",
    "loops-arbitrary-sequential-steps.yaml": "Failed",
    "pod-gc-strategy-with-label-selector.yaml": "Failed",
    "pod-gc-strategy.yaml": "Failed",
    "step-level-timeout.yaml": "Failed",
}
"""Rows that Argo's CI does not run, and how they end by what they say."""
LATER = (
    "synchronization is",
    "memoization is",
    "metrics of",
    "podSpecPatch is",
    "resource claims are",
    "kind: WorkflowEventBinding",
    "kind: CronWorkflow",
)
"""What is refused since it is no matter of files: such a row is left out."""


class Example(NamedTuple):
    """A row: the file, the kinds of its documents, what it needs, and Argo's no-test label (`-` for none)."""

    file: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...]
    label: str

    @property
    def reason(self) -> str:
        """Why it is left out; empty where it is run."""
        if self.file in LEFT_OUT:
            return LEFT_OUT[self.file]
        return next((REASONS.get(need, f"needs {need}") for need in self.needs if need not in HERE), "")

    @property
    def runs(self) -> bool:
        """Whether a workflow begins, so that there is an end to look at."""
        return "Workflow" in self.kinds

    @property
    def phases(self) -> tuple[str, ...]:
        """How it may end."""
        if self.file in BY_CHANCE:
            return ("Succeeded", "Failed")
        return (ENDS.get(self.file, "Failed" if self.label == "expected-failure" else "Succeeded"),)


def read_rows(table: Path) -> list[Example]:
    """The rows of examples.tsv."""
    with table.open() as lines:
        found = csv.DictReader(lines, delimiter="\t")
        return [
            Example(row["file"], tuple(row["kinds"].split("+")), tuple(row["needs"].split(",")), row["no_test_label"])
            for row in found
        ]


def is_later(said: str) -> bool:
    """Whether a refusal names nothing but what is still to come."""
    problems = [part for part in said.split(" | ") if "not supported yet" in part]
    return bool(problems) and all(any(one in problem for one in LATER) for problem in problems)
