"""The fields of our own actions are checked when a workflow is submitted, with the path to what is wrong."""

from __future__ import annotations

import pytest

from .manifests import HEAD, errors


def plugin(arguments: str) -> str:
    return f"{HEAD}spec:\n  entrypoint: main\n  templates:\n  - name: main\n    plugin: {arguments}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{slack: {channel: '#ops'}}", "plugin.slack.channel: there is no field 'channel'"),
        (
            "{email: {to: a@b.org, subjekt: x}}",
            "plugin.email.subjekt: there is no field 'subjekt'; did you mean subject?",
        ),
        ("{pushgateway: {}}", "plugin.pushgateway: the field 'job' is missing"),
        ("{cleanup: {http: [{url: a, header: {}}]}}", "plugin.cleanup.http[0].header: there is no field 'header'"),
        ("{webhook: {urlFrom: {secretKeyRef: {name: a}}}}", "webhook.urlFrom.secretKeyRef: the field 'key' is missing"),
        ("{grafana: {panelId: many}}", "plugin.grafana.panelId: a whole number is expected, not a text"),
        ("{notify: text}", "plugin.notify: fields are expected here, not a text"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(arguments: str, said: str) -> None:
    found = errors(plugin(arguments), support=True)
    assert any(f"spec.templates[0].{said}" in problem or said in problem for problem in found), found


@pytest.mark.parametrize(
    "arguments",
    [
        "{slack: {to: '#ops'}}",
        "{email: {to: [a@b.org], from: x@b.org}}",
        "{pushgateway: {job: a, metrics: [{name: a, value: '{{workflow.duration}}'}]}}",
        "{cleanup: {paths: [/a], objects: ['s3://b/c'], databases: [{connection: a, tables: [b]}]}}",
        "{somebodys-plugin: {any: [thing]}}",
    ],
)
def test_what_is_right_passes(arguments: str) -> None:
    assert errors(plugin(arguments), support=True) == []
