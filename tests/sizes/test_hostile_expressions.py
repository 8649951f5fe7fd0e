"""Expressions that want too much, or what they may not have: refused, or an Error; others do not notice."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.sizes.manifests import BYE, Tree, canary, sh, steps, text, workflow

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]


def forty(expression: str) -> Tree:
    """Forty steps at once, each with this expression as its argument."""
    calls = [
        {
            "name": f"a{i}",
            "template": "echo",
            "arguments": {"parameters": [{"name": "x", "value": "{{=" + expression.replace("NUMBER", str(i)) + "}}"}]},
        }
        for i in range(40)
    ]
    echo = sh("echo", "true", inputs={"parameters": [{"name": "x"}]})
    return workflow("hostile", steps("main", calls), echo, BYE, onExit="bye")


CASES = {
    "c44, the environment": "sprig.env('HOME')",
    "c44, the environment in a text": "sprig.expandenv('$HOME')",
    "c45, time": "len(filter(1..900000, # > NUMBER))",
    "c46, a key from a password": "sprig.derivePassword(NUMBER, 'long', 'password', 'user', 'example.com')",
    "c47, a private key": "sprig.genPrivateKey('rsa')",
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_or_ends_in_error_and_its_handler_runs(cluster: Cluster, case: str) -> None:
    done = cluster.call("submit", "-", "-o", "name", stdin=text(forty(CASES[case])))
    [beside] = cluster.run(text(canary()), timeout=100)
    assert (beside["status"]["phase"], beside["status"]["finalization"]) == ("Succeeded", "Succeeded")
    if done.returncode:
        assert done.returncode == 2, done.stderr
        assert "spec.templates" in done.stderr
        return
    found = cluster.wait(done.stdout.strip(), seconds=100)
    assert found["status"]["phase"] in ("Error", "Failed")
    assert found["status"]["finalization"] == "Succeeded"
    assert nodes(found)[".onExit"]["phase"] == "Succeeded"
    said = " ".join(node.get("message", "") for node in found["status"]["nodes"].values())
    assert "steps" in said or "is not" in said or "unknown" in said, said[:2000]
