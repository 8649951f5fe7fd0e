"""What a request becomes: the same uids for each repeat, all in one partition, and one bundle for the same text."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.journal.keyring import new_key, read_keys
from exeunt.journal.manifests import Manifests
from exeunt.journal.names import uids
from exeunt.journal.secrets import Secrets
from exeunt.journal.subjects import partition_of
from exeunt.language.problems import ManifestError
from exeunt.scheduler.checks import Wishes, work_here
from exeunt.scheduler.submit import SubmissionChecker

TEXT = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: a-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: x, value: "1"}]}
  templates:
  - name: main
    container: {image: alpine, command: [echo], args: ["{{workflow.parameters.x}}"]}
"""


class Store:
    """Stored manifests, in memory: what the checks ask for, not how it is kept."""

    def __init__(self, **trees: Any) -> None:
        self.trees = trees
        self.asked: list[str] = []

    async def get(self, kind: str, namespace: str, name: str) -> Any:
        self.asked.append(f"{kind}/{namespace}/{name}")
        return self.trees.get(name)


def checker(store: Store | None = None, key: str = "") -> SubmissionChecker:
    manifests = cast("Manifests", store or Store())
    return SubmissionChecker(manifests, work_here, secrets=Secrets(manifests, read_keys(key)) if key else None)


@given(st.text(max_size=20), st.text(max_size=128), st.integers(1, 12))
def test_uids_are_the_same_for_each_repeat_and_live_together(namespace: str, request_id: str, count: int) -> None:
    found = uids(namespace, request_id, count)
    assert found == uids(namespace, request_id, count)
    assert len(set(found)) == count
    assert len({partition_of(uid) for uid in found}) == 1
    assert uids(namespace, request_id, count + 1)[:count] == found


async def test_the_same_text_is_one_bundle() -> None:
    checked = await checker().check([("a", TEXT + "---" + TEXT)], Wishes())
    first, second = checked.workflows
    assert first.digest == second.digest


async def test_wishes_are_part_of_the_workflow() -> None:
    wishes = Wishes(namespace="n", name="given", parameters=(("x", "2"),), labels=(("l", "v"),))
    (accepted,) = (await checker().check([("a", TEXT)], wishes)).workflows
    workflow = accepted.bundle.workflow
    assert (workflow.metadata.namespace, workflow.metadata.name, workflow.metadata.labels) == ("n", "given", {"l": "v"})
    assert [p.value for p in workflow.spec.arguments.parameters] == ["2"]


async def test_one_name_cannot_be_given_to_two() -> None:
    with pytest.raises(ManifestError, match="single workflow"):
        await checker().check([("a", TEXT + "---" + TEXT)], Wishes(name="given"))


async def test_two_documents_of_one_name_are_refused() -> None:
    named = TEXT.replace("generateName: a-", "name: same")
    with pytest.raises(ManifestError, match="'same' is the name of an earlier document too"):
        await checker().check([("a", named), ("b", named)], Wishes())


async def test_problems_of_all_documents_are_told_together() -> None:
    wrong = TEXT.replace("entrypoint: main", "entrypoint: nowhere")
    with pytest.raises(ManifestError) as refused:
        await checker().check([("a.yaml", wrong), ("b.yaml", TEXT), ("c.yaml", wrong)], Wishes())
    assert {problem.file for problem in refused.value.problems} == {"a.yaml", "c.yaml"}


async def test_stored_templates_are_looked_up_through_others() -> None:
    def template(name: str, inner: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTemplate",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"templates": [{"name": "t", **inner}]},
        }

    ref = {"templateRef": {"name": "second", "template": "t"}}
    store = Store(
        first=template("first", {"steps": [[{"name": "s", **ref}]]}),
        second=template("second", {"container": {"image": "alpine", "command": ["true"]}}),
    )
    text = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: a-}
spec:
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: a, templateRef: {name: first, template: t}}]]
"""
    (accepted,) = (await checker(store).check([("a", text)], Wishes())).workflows
    assert sorted(t.metadata.name for t in accepted.bundle.templates) == ["first", "second"]


async def test_checks_that_read_the_store_are_made_anew() -> None:
    store = Store()
    text = TEXT.replace("container: {", "container: {name: main, ").replace("{{workflow.parameters.x}}", "x")
    one = checker(store)
    assert await one.check([("a", text)], Wishes()) is await one.check([("a", text)], Wishes())
    refers = TEXT + "  workflowTemplateRef: {name: missing}\n"
    for _ in range(2):
        with pytest.raises(ManifestError):
            await one.check([("a", refers)], Wishes())
    assert len([asked for asked in store.asked if asked.endswith("/missing")]) == 2


SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: api, annotations: {copied: tok-4711-geheim}}
stringData: {token: tok-4711-geheim}
"""


async def test_a_secret_is_kept_sealed_and_nothing_else_of_its_document() -> None:
    """Annotations may hold a copy: kubectl's last-applied-configuration does."""
    checked = await checker(key=new_key()).check([("s", SECRET + "---" + TEXT)], Wishes(namespace="n"))
    [stored] = checked.stored
    assert (stored.kind, stored.namespace, stored.name) == ("Secret", "n", "api")
    assert len(checked.workflows) == 1
    assert set(stored.tree) == {"kind", "metadata", "key", "sealed"}
    assert stored.tree["metadata"] == {"name": "api", "namespace": "n"}
    assert "4711" not in repr(stored)


async def test_without_a_key_a_secret_is_refused_and_nothing_is_submitted() -> None:
    with pytest.raises(ManifestError) as refused:
        await checker().check([("s", SECRET + "---" + TEXT)], Wishes())
    [problem] = refused.value.problems
    assert "this cluster has no key for secrets" in str(problem)
    assert "EXEUNT_SECRET_KEY" in str(problem)


async def test_a_wrong_secret_is_refused_without_its_value() -> None:
    with pytest.raises(ManifestError) as refused:
        await checker(key=new_key()).check([("s", SECRET.replace("stringData", "data"))], Wishes())
    [problem] = refused.value.problems
    assert str(problem) == "s:5: data.token: is not base64; a value as it is goes under stringData"
