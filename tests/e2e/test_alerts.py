"""Alerts ask for numbers that the services of a running cluster really tell."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request

import promql_parser
import pytest

from tests.deploy.test_alerts import RULES, selectors
from tests.e2e.cluster import Cluster

pytestmark = pytest.mark.services

SERIES = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ", re.MULTILINE)


def page(address: str) -> str:
    """What Prometheus reads; it is served a moment after the service is ready."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_alerts_ask_for_what_is_told(cluster: Cluster) -> None:
    facts = cluster.facts()
    text = page(facts["scheduler"]["metrics"]) + page(facts["exithandler"]["metrics"])
    told = [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in SERIES.findall(text)]
    for alert, rule in RULES.items():
        for wanted in selectors(promql_parser.parse(rule["expr"])):
            labels = {matcher.name: matcher.value for matcher in wanted.matchers.matchers}
            found = [series for name, series in told if name == wanted.name]
            assert any(labels.items() <= series.items() for series in found), f"{alert}: nobody tells {wanted}"
