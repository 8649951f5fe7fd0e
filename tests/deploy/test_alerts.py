"""The alert rules are PromQL, and the page and the operator's form say the same. Numbers: tests/e2e/test_alerts.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def selectors(expression: Any) -> Iterator[Any]:
    """The series that an expression asks for."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        below = getattr(expression, name, None)
        for one in below if isinstance(below, list) else [below]:
            if isinstance(one, promql_parser.Expr):
                yield from selectors(one)


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_is_promql_over_numbers_of_ours(alert: str) -> None:
    wanted = list(selectors(promql_parser.parse(RULES[alert]["expr"])))
    assert wanted
    assert all(selector.name.startswith("exeunt_") for selector in wanted)


def test_each_says_what_it_means_and_how_bad_it_is() -> None:
    for rule in RULES.values():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_operator_gets_the_same() -> None:
    rule = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "monitoring" / "alerts.yaml").read_text())
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"]["groups"] == GROUPS


def test_the_page_names_every_alert_and_its_severity() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text()
    rows = re.findall(r"^\| (`Exeunt[^|]*) \| (\w+) \|", page, re.MULTILINE)
    said = {name: severity for names, severity in rows for name in re.findall(r"`(\w+)`", names)}
    assert said == {alert: rule["labels"]["severity"] for alert, rule in RULES.items()}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with Prometheus")
def test_promtool_takes_them() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
