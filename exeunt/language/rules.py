"""The rules for single parts of a manifest: names, parameters, arguments, outputs, loops, retries.

Each rule looks at one part and reports at its place. They are those that Argo holds when a workflow is created (Argo:
workflow/validate), and those few that keep a workflow from starting that could never end well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Many

from msgspec import UNSET

from exeunt.language.containers import Scalar
from exeunt.language.load import load_documents
from exeunt.language.manifest import (
    Arguments,
    Artifact,
    LifecycleHook,
    Parameter,
    Resource,
    RetryStrategy,
    Step,
    Template,
)
from exeunt.language.problems import ManifestError, nearest, quoted_list, shorten
from exeunt.language.report import Place, Report
from exeunt.language.repository import files_problem
from exeunt.language.template_types import TEMPLATE_TYPES, types_of
from exeunt.language.variables import tags, text
from exeunt.language.visible import Visible, without_tags

FIELD_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
PARAMETER_NAME = re.compile(r"[-a-zA-Z0-9_]+")
HAS_TAG = re.compile(r"\{\{\s*[-a-zA-Z0-9]+(\.[-a-zA-Z0-9_]+)*\s*\}\}")
MAX_FIELD_NAME = 128
RETRY_POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
RESOURCE_ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
ARCHIVES = ("tar", "zip", "none")
"""How an artifact can be packed."""
LOCATIONS = ("s3", "git", "http", "artifactory", "hdfs", "raw", "oss", "gcs", "azure", "plugin", "nats")
"""The kinds of places that an artifact can have."""
_WHILE_RUNNING = re.compile(r"""\s*(steps|tasks)(\.[-\w]+|\[['"][-\w]+['"]\])\.status\s*==\s*['"]Running['"]\s*""")
_INTEGER = re.compile(r"[+-]?[0-9]+")

Named = Parameter | Artifact | Template | Step


def field_name(name: str) -> str | None:
    """What is wrong with the name of a template, step or task; None when nothing is."""
    if len(name) > MAX_FIELD_NAME:
        return f"is {len(name)} characters long; {MAX_FIELD_NAME} are allowed"
    if not FIELD_NAME.fullmatch(name):
        return f"{shorten(name)!r} must be letters, digits and '-', and start with a letter or digit"
    return None


def parameter_name(name: str) -> str | None:
    """What is wrong with the name of a parameter or artifact; None when nothing is."""
    if not PARAMETER_NAME.fullmatch(name):
        return f"{shorten(name)!r} must be letters, digits, '_' and '-'"
    return None


def check_names(items: Many[Named], place: Place, report: Report) -> None:
    """Each has a name, of the right characters, and no two the same."""
    seen: set[str] = set()
    for at, item in enumerate(items):
        here = place.at(at, "name")
        rule = parameter_name if isinstance(item, (Parameter, Artifact)) else field_name
        if not item.name:
            report.add(place.at(at), "has no name")
        elif wrong := rule(item.name):
            report.add(here, wrong)
        elif item.name in seen:
            report.add(here, f"{item.name!r} is not unique; another one before it has the same name")
        seen.add(item.name)


def check_arguments(arguments: Arguments, place: Place, report: Report, *, may_be_empty: bool = False) -> None:
    """Arguments have names and values. `may_be_empty`: a template's own, whose values come at submission."""
    check_names(arguments.parameters, place.at("parameters"), report)
    check_names(arguments.artifacts, place.at("artifacts"), report)
    for at, parameter in enumerate(arguments.parameters):
        _argument(parameter, place.at("parameters", at), report, may_be_empty=may_be_empty)
    for at, artifact in enumerate(arguments.artifacts):
        here = place.at("artifacts", at)
        if not artifact.from_ and not artifact.from_expression and not has_location(artifact):
            report.add(here, "has no 'from' and no location")
        if artifact.from_ and artifact.from_expression:
            report.add(here, "has both 'from' and 'fromExpression'; keep one")
        _files(artifact, here, report)


def _argument(parameter: Parameter, here: Place, report: Report, *, may_be_empty: bool) -> None:
    source = parameter.value_from
    if source is None and parameter.value is UNSET and not may_be_empty:
        report.add(here, f"the argument {parameter.name} has no value; give it 'value' or 'valueFrom'")
        return
    if source is not None:
        allowed = source.config_map_key_ref is not None or source.event or source.supplied is not None
        wrong = source.path or source.json_path or source.parameter or source.expression
        if not allowed or wrong:
            report.add(here.at("valueFrom"), "an argument takes only configMapKeyRef (with default) or supplied")
    if parameter.enum is not None:
        known = [text(choice) for choice in parameter.enum]
        if not known:
            report.add(here.at("enum"), "holds no value; name at least one")
        elif parameter.value is UNSET and not may_be_empty:
            report.add(here, f"the argument {parameter.name} has no value; one of {quoted_list(known)}")
        elif parameter.value is not UNSET and text(parameter.value) not in known:
            report.add(here.at("value"), f"{shorten(text(parameter.value))!r} is none of {quoted_list(known)}")


def has_location(artifact: Artifact) -> bool:
    """Whether it says where it lies, completely or by a key in the default store."""
    return any(getattr(artifact, name) is not None for name in LOCATIONS)


def check_supplied(template: Template, arguments: Arguments | None, place: Place, report: Report) -> None:
    """Every input gets a value: from the argument, or its own value or default. None: arguments come later."""
    if arguments is None:
        return
    given = {parameter.name for parameter in arguments.parameters}
    files = {artifact.name for artifact in arguments.artifacts}
    where = place.at("arguments", "parameters") if given else place
    of = f" of template {template.name}" if template.name else ""
    for name in missing_inputs(template, arguments):
        report.add(where, f"the input {name}{of} gets no value and has no default{nearest(name, given)}")
    for artifact in template.inputs.artifacts:
        if not artifact.optional and not has_location(artifact) and artifact.name not in files:
            report.add(where, f"the input artifact {artifact.name}{of} is not given")


def missing_inputs(template: Template, arguments: Arguments) -> list[str]:
    """The input parameters that would have no value with these arguments."""
    given = {parameter.name: parameter for parameter in arguments.parameters}
    missing: list[str] = []
    for wanted in template.inputs.parameters:
        value = wanted.value if wanted.value is not UNSET else wanted.default
        source = wanted.value_from
        argument = given.get(wanted.name)
        if argument is not None:
            value, source = argument.value, None if argument.value is not UNSET else argument.value_from
        if value is UNSET and (source is None or source.config_map_key_ref is None):
            missing.append(wanted.name)
    return missing


def check_inputs(template: Template, place: Place, report: Report) -> None:
    check_names(template.inputs.parameters, place.at("inputs", "parameters"), report)
    check_names(template.inputs.artifacts, place.at("inputs", "artifacts"), report)
    leaf = any(TEMPLATE_TYPES[kind].leaf for kind in types_of(template))
    for at, artifact in enumerate(template.inputs.artifacts):
        here = place.at("inputs", "artifacts", at)
        _artifact_path(artifact, here, report, leaf=leaf)
        _files(artifact, here, report)
        if artifact.from_:
            report.add(here.at("from"), "belongs into arguments; an input only names what it takes")


def _files(artifact: Artifact, here: Place, report: Report) -> None:
    """Where it lies, how it is packed, and with what mode it comes."""
    if wrong := files_problem(artifact):
        field, _, what = wrong.partition(": ")
        report.add(here.at(*field.split(".")), what)
    for kind, options in (artifact.archive or {}).items():
        if kind not in ARCHIVES:
            report.add(here.at("archive", kind), f"is not known; {quoted_list(ARCHIVES)} are")
        level = options.get("compressionLevel") if isinstance(options, dict) and kind == "tar" else None
        if level is not None and not (isinstance(level, int) and -1 <= level <= 9):
            report.add(here.at("archive", "tar", "compressionLevel"), "-1 (the usual) to 9 are expected")
    if artifact.archive and len(artifact.archive) > 1:
        report.add(here.at("archive"), f"only one of {quoted_list(ARCHIVES)} can be")
    if artifact.mode is not None and not 0 <= artifact.mode <= 0o777:
        report.add(here.at("mode"), "is no mode of a file; 0 to 0777 (511) are")


def _artifact_path(artifact: Artifact, here: Place, report: Report, *, leaf: bool) -> None:
    if leaf and not artifact.path:
        report.add(here, f"the artifact {artifact.name} has no path")
    elif not leaf and artifact.path:
        report.add(here.at("path"), "only templates that run something have files")


def check_outputs(template: Template, place: Place, report: Report) -> None:
    """Outputs say where their value comes from, in a way that this type of template has."""
    outputs, kind = template.outputs, (types_of(template) or [""])[0]
    leaf = kind in TEMPLATE_TYPES and TEMPLATE_TYPES[kind].leaf
    check_names(outputs.parameters, place.at("outputs", "parameters"), report)
    check_names(outputs.artifacts, place.at("outputs", "artifacts"), report)
    for at, artifact in enumerate(outputs.artifacts):
        here = place.at("outputs", "artifacts", at)
        _artifact_path(artifact, here, report, leaf=leaf)
        _files(artifact, here, report)
        _global_name(artifact.global_name, here, report)
    for at, parameter in enumerate(outputs.parameters):
        here = place.at("outputs", "parameters", at)
        _output(parameter, kind, here, report)
        _global_name(parameter.global_name, here, report)


def _global_name(name: str, here: Place, report: Report) -> None:
    if name and not HAS_TAG.search(name) and (wrong := parameter_name(name)):
        report.add(here.at("globalName"), wrong)


def _output(parameter: Parameter, kind: str, here: Place, report: Report) -> None:
    source = parameter.value_from
    if parameter.value is not UNSET:
        if source is not None:
            report.add(here, "has both 'value' and 'valueFrom'; keep one")
        return
    if source is None:
        report.add(here, "has neither 'value' nor 'valueFrom'; say where its value comes from")
        return
    here = here.at("valueFrom")
    ways = {
        "path": source.path,
        "jqFilter": source.jq_filter,
        "jsonPath": source.json_path,
        "parameter": source.parameter,
        "expression": source.expression,
    }
    given = [name for name, value in ways.items() if value]
    if source.supplied is not None:
        given.append("supplied")
    wanted = TEMPLATE_TYPES[kind].sources if kind in TEMPLATE_TYPES else ()
    if len(given) > 1:
        report.add(here, f"names {len(given)} sources, {' and '.join(given)}; keep one")
    elif not given:
        report.add(here, f"names no source; give it {' or '.join(wanted or ('supplied', *ways))}")
    elif wanted and given[0] not in wanted:
        report.add(here.at(given[0]), f"is not for {kind} templates; they have {' or '.join(wanted)}")


def check_loop(step: Step, place: Place, report: Report) -> None:
    """At most one kind of loop; a sequence that has an end."""
    loops = {
        "withItems": bool(step.with_items),
        "withParam": bool(step.with_param),
        "withSequence": step.with_sequence is not None,
    }
    given = [name for name, there in loops.items() if there]
    if len(given) > 1:
        report.add(place.at(given[-1]), f"only one of {', '.join(loops)} can stand here; {' and '.join(given)} do")
    sequence = step.with_sequence
    if sequence is not None and sequence.count is not None and sequence.end is not None:
        report.add(place.at("withSequence"), "has both 'count' and 'end'; keep one")
    elif sequence is not None and sequence.count is None and sequence.end is None:
        report.add(place.at("withSequence"), "has no end; give it 'count' or 'end'")


def check_hook_expressions(hooks: dict[str, LifecycleHook], place: Place, report: Report) -> None:
    """A hook that is not `exit` says when it is due."""
    for name, hook in hooks.items():
        if name != "exit" and not hook.expression:
            report.add(place.at(name), "has no expression; only the hook named exit goes without")


def check_own_hooks(step: Step, place: Place, report: Report, *, loop: bool) -> None:
    """What hooks of a step are not told: what it gives while it runs, and at no time its own times and id."""
    given = re.compile(rf"(steps|tasks)\.{re.escape(step.name)}\.(outputs\.|exitCode|finishedAt)")
    never = re.compile(rf"(steps|tasks)\.{re.escape(step.name)}\.(id|ip|startedAt|finishedAt|hostNodeName)")
    for name, hook in step.hooks.items():
        running = name != "exit" and _WHILE_RUNNING.fullmatch(hook.expression)
        where = place.at(name, "arguments", "parameters")
        for at, parameter in enumerate(hook.arguments.parameters):
            value = parameter.value
            for tag in tags(value) if isinstance(value, str) else ():
                body = tag.body.strip()
                why = ""
                if running and given.match(body):
                    why = f"has no value while {step.name} runs"
                elif tag.kind == "simple" and never.fullmatch(body):
                    why = f"is not told to hooks of {step.name} itself"
                if why:
                    told = f"{{{{{shorten(tag.body)}}}}} {why}; it is passed on as it stands"
                    report.add(where.at(at, "value"), told, warning=True)
        if not loop:
            check_no_item(hook, place.at(name), report)


def check_no_item(hook: LifecycleHook, place: Place, report: Report) -> None:
    """`{{item}}` of a hook outside of a loop."""
    for at, parameter in enumerate(hook.arguments.parameters):
        value = parameter.value
        for tag in tags(value) if isinstance(value, str) else ():
            if tag.kind == "simple" and tag.body.strip() == "item":
                told = "{{item}} has no value outside of a loop; it is passed on as it stands"
                report.add(place.at("arguments", "parameters", at, "value"), told, warning=True)


def told_twice(on_exit: str, place: Place, report: Report, *, stored: bool = False) -> None:
    """`onExit` and `hooks.exit` for the same end: of the two only the first runs, as in Argo."""
    where = ", which the referenced template has," if stored else ""
    told = f"hooks.exit does not run: onExit ({on_exit}){where} stands for the same; take one of them away"
    report.add(place, told, warning=True)


def check_retry(retry: RetryStrategy | None, place: Place, report: Report) -> None:
    if retry is None:
        return
    if retry.retry_policy and retry.retry_policy not in RETRY_POLICIES:
        near = nearest(retry.retry_policy, RETRY_POLICIES)
        told = f"{shorten(retry.retry_policy)!r} is none of {', '.join(RETRY_POLICIES)}{near}"
        report.add(place.at("retryPolicy"), told)
    if not whole_number(retry.limit):
        report.add(place.at("limit"), f"must be a whole number, not {shorten(str(retry.limit))!r}")


def whole_number(value: Scalar) -> bool:
    """An int, a text of one, a variable that may be one, or nothing."""
    if value is None or (isinstance(value, str) and "{{" in value):
        return True
    if isinstance(value, float):
        return value.is_integer()
    return not isinstance(value, bool) and (isinstance(value, int) or bool(_INTEGER.fullmatch(value)))


def check_resource(resource: Resource, visible: Visible, place: Place, report: Report) -> None:
    action = visible.constant(resource.action)
    if action is not None and action not in RESOURCE_ACTIONS:
        near = nearest(action, RESOURCE_ACTIONS)
        report.add(place.at("action"), f"{shorten(action)!r} is none of {', '.join(RESOURCE_ACTIONS)}{near}")
    if action in ("get", "delete"):
        return
    if not resource.manifest and resource.manifest_from is None:
        report.add(place, "has no manifest; give it 'manifest' or 'manifestFrom'")
    elif resource.manifest and resource.manifest_from is not None:
        report.add(place, "has both 'manifest' and 'manifestFrom'; keep one")
    elif resource.manifest:
        try:
            load_documents(without_tags(resource.manifest))
        except ManifestError as error:
            first = error.problems[0]
            report.add(place.at("manifest"), f"is no YAML in its line {first.line}: {first.message}")
