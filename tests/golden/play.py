"""Plays a recorded case against the engine, as scheduler, exit handler and executors would: its public calls only."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from exeunt.engine import decide
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptReady,
    Cancel,
    GoOn,
    HookEnded,
    Placed,
    ResumeRun,
    SetNodes,
    ShutdownRun,
    TimerFired,
)
from exeunt.engine.decide import Run
from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    Event,
    HookCancelled,
    HookDue,
    RunClosed,
    RunStarted,
    StepCancelled,
    StepDue,
    TimerSet,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.work import ContainerEnd, ContainerSetWork, ContainerWork, StepOutcome, StepSpec, in_order
from exeunt.engine.shown.status import merged_nodes
from exeunt.engine.values.artifacts import KEYS, store_of
from exeunt.language.manifest import Bundle, ConfigMap, Workflow, WorkflowTemplate

UID = "11111111-2222-3333-4444-555555555555"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
MAX_ROUNDS = 400

Case = dict[str, Any]


def bundle_of(case: Case) -> Bundle:
    """The case's manifest with what exists beforehand."""
    workflow = msgspec.convert(case["manifest"], Workflow, strict=False)
    if not workflow.metadata.name:
        workflow.metadata.name = "w"
    stored = [_stored(one) for one in case["extra"] if one["kind"].endswith("WorkflowTemplate")]
    maps = [one for one in case["extra"] if one["kind"] == "ConfigMap"]
    return Bundle(
        workflow=workflow,
        templates=[msgspec.convert(one, WorkflowTemplate, strict=False) for one in stored],
        config_maps=[msgspec.convert(one, ConfigMap, strict=False) for one in maps],
    )


def _stored(tree: Any) -> Any:
    """Numbers of stored manifests lose their written form: 2.0 is 2."""
    if isinstance(tree, dict):
        return {key: _stored(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_stored(value) for value in tree]
    return int(tree) if isinstance(tree, float) and tree.is_integer() else tree


class Pod:
    """A step that runs, in the main run or in an exit run."""

    def __init__(self, run: str, due: StepDue, name: str, template: str) -> None:
        self.run = run
        self.due = due
        self.name = name
        self.template = template


class Player:
    """The world around a workflow: places at once, and ends steps as the case says."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.tells_artifacts = "more" in case.get("features", ())  # other recordings leave them out
        self.bundle = bundle_of(case)
        self.runs: dict[str, Run] = {}
        self.events: dict[str, list[Event]] = {}
        self.pods: dict[tuple[str, str], Pod] = {}
        self.specs: dict[str, StepSpec] = {}
        self.killed: dict[str, str] = {}  # node id → run
        self.kills: deque[tuple[str, StepCancelled, str]] = deque()
        self.done_of: dict[str, int] = {}
        self.addresses = 0  # that pods have got so far
        self.rounds: list[str] = []
        self.alive: list[list[str]] = []
        self.inbox: deque[tuple[str, Any]] = deque()
        self.now = NOW
        name = self.bundle.workflow.metadata.name
        started = RunStarted(UID, name, "default", "bundle", repository={"s3": {}})
        run, events = decide.begin(started, self.bundle, self.now)
        self.runs[""] = run
        self.take("", events)
        self.settle()

    @property
    def main(self) -> Run:
        return self.runs[""]

    def take(self, key: str, events: list[Event]) -> None:
        """Does what committed events ask for."""
        run = self.runs[key]
        run.commits += 1
        self.events.setdefault(key, []).extend(events)
        for event in events:
            if isinstance(event, StepDue):
                node = run.nodes[run.by_id[event.node]]
                self.specs[event.node] = event.step
                self.pods[key, event.node] = Pod(key, event, run.names.full(node), event.step.template)
                self.inbox.append((key, Placed(event.node, event.attempt, "e1")))
                self.addresses += node.type == phases.POD
                if event.step.daemon:
                    number = self.addresses if self.tells_artifacts else 1
                    self.inbox.append((key, AttemptReady(event.node, event.attempt, f"10.0.0.{number}")))
            elif isinstance(event, StepCancelled):
                pod = self.pods.pop((key, event.node))
                self.killed[event.node] = pod.name
                self.kills.append((key, event, pod.name))
            elif isinstance(event, HookDue):
                self.begin_exit(event)
            elif isinstance(event, HookCancelled):
                self.inbox.append((event.hook_id, Cancel(event.reason, event.strategy, event.below)))
            elif isinstance(event, TimerSet) and event.timer == "close":
                self.inbox.append((key, TimerFired(event.timer)))
            elif isinstance(event, RunClosed) and event.hook is not None:
                self.inbox.append(("", HookEnded(event.hook)))
        if run.unfinished:
            self.inbox.appendleft((key, GoOn()))

    def begin_exit(self, event: HookDue) -> None:
        owed = event.obligation
        started = RunStarted(UID, owed.name, owed.namespace, "bundle", obligation=owed)
        run, events = decide.begin(started, self.bundle, self.now)
        self.runs[owed.hook_id] = run
        self.take(owed.hook_id, events)

    def feed(self, key: str, given: Any) -> None:
        self.take(key, decide.decide(self.runs[key], given, self.now))

    def settle(self) -> None:
        while self.inbox or self.kills:
            if self.inbox:
                self.feed(*self.inbox.popleft())
            else:
                key, event, _ = self.kills.popleft()
                self.feed(key, AttemptEnded(event.node, event.attempt, self.killed_as(self.specs[event.node])))

    def killed_as(self, spec: StepSpec) -> StepOutcome:
        """What a killed pod reports."""
        work = spec.work
        names = [one.name for one in work.containers] if isinstance(work, ContainerSetWork) else []
        return StepOutcome(
            phase="Failed",
            message=f"{names[0] if names else 'main'}: Error (exit code 143)",
            exit_code=143 if not names or "main" in names else None,
            containers=[_container_end(name, 143) for name in names],
            result="" if spec.result else None,
            parameters=_defaults(spec),
        )

    # --- rounds -------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        ops = deque(self.case["ops"])
        while True:
            while ops and self.reached(ops[0]["at_round"]):
                self.operate(ops.popleft())
            if self.main.closed or len(self.rounds) >= MAX_ROUNDS:
                return
            if self.ending():
                self.complete()
            elif not self.resume():
                return

    def operate(self, op: Case) -> None:
        """An operator stops or terminates the workflow."""
        if not self.main.closed:
            self.feed("", ShutdownRun("Stop" if op["op"] == "stop" else "Terminate"))
            self.settle()

    def reached(self, rounds: int) -> bool:
        """Whether so many rounds are over."""
        return rounds <= len(self.rounds)

    def next(self) -> Pod:
        """The pod that completes next."""
        pods = self.ending()
        pick = min if self.case["order"] == "first" else max
        return pick(pods, key=lambda pod: pod.name.encode())

    def ending(self) -> list[Pod]:
        """The pods that complete by themselves: all but daemons."""
        return [pod for pod in self.pods.values() if not pod.due.step.daemon]

    def complete(self) -> None:
        self.alive.append(sorted((pod.name for pod in self.ending()), key=str.encode))
        pod = self.next()
        del self.pods[pod.run, pod.due.node]
        self.rounds.append(pod.name)
        outcome = self.ended_as(self.outcome(pod.name, pod.template), pod)
        self.feed(pod.run, AttemptEnded(pod.due.node, pod.due.attempt, outcome))
        self.settle()

    def ended_as(self, said: Case, pod: Pod) -> StepOutcome:
        """What whoever runs the pod reports."""
        return played(said, pod.due.step)

    def outcome(self, name: str, template: str) -> Case:
        if name in self.case["script"]:
            self.done_of[template] = self.done_of.get(template, 0) + 1
            found: Case = self.case["script"][name]
            return found
        turns = self.case["by_template"].get(template)
        done = self.done_of.get(template, 0)
        self.done_of[template] = done + 1
        return turns[done % len(turns)] if turns else {"phase": "Succeeded"}

    def waiting(self) -> list[tuple[str, str, Node]]:
        """The suspended nodes: name, run, node."""
        return [
            (run.names.full(node), key, node)
            for key, run in self.runs.items()
            if not run.closed
            for node in run.nodes
            if node.type == "Suspend" and not node.fulfilled
        ]

    def resume(self) -> bool:
        waiting = self.waiting()
        if not waiting:
            return False
        name, key, node = min(waiting, key=lambda one: one[0].encode())
        run = self.runs[key]
        self.alive.append([])
        self.rounds.append(name)
        said = self.outcome(name, node.template)
        selector = f"id={run.id(node)}"
        if said.get("parameters"):
            self.feed(key, SetNodes(selector, {k: v for k, v in said["parameters"].items() if v is not None}))
        if said.get("phase") == "Failed":
            message = said.get("message", "")
            self.feed(key, SetNodes(selector, phase="Failed", message=message))
        else:
            self.feed(key, ResumeRun(selector=selector))
        self.settle()
        return True

    # --- what came of it ----------------------------------------------------------------------------------------------

    def result(self) -> Case:
        """In the shape of the recordings."""
        main = self.main
        trees = merged_nodes(main)
        for key, run in self.runs.items():
            if key and not run.closed:
                for identity, tree in merged_nodes(run).items():
                    trees.setdefault(identity, tree)
        names = {identity: tree["name"] for identity, tree in trees.items()}
        pods = {_pod(main, tree): f"pod({tree['name']})" for tree in trees.values()}
        nodes = [self._node(tree, names) for tree in trees.values()]
        ours: Case = {
            "phase": main.phase,
            "message": main.message,
            "progress": _progress(trees),
            "nodes": sorted(nodes, key=lambda node: node["name"].encode()),
            "rounds": self.rounds,
            "alive": self.alive,
        }
        if main.state.global_outputs:
            ours["outputs"] = {"parameters": dict(main.state.global_outputs)}
        if main.state.global_artifacts and self.tells_artifacts:
            ours.setdefault("outputs", {})["artifacts"] = _places(main.state.global_artifacts.values())
        if not main.closed and len(self.rounds) < MAX_ROUNDS:
            ours["stuck"] = True
        found: Case = normal(_renamed(ours, names, pods))
        return found

    def _node(self, tree: Case, names: dict[str, str]) -> Case:
        ref = tree.get("templateRef", {})
        node: Case = {
            "name": tree["name"],
            "displayName": tree["displayName"],
            "type": tree["type"],
            "phase": tree["phase"],
            "message": tree.get("message", ""),
            "templateName": ref.get("template") or tree.get("templateName", ""),
            "boundary": names.get(tree.get("boundaryID", ""), tree.get("boundaryID")),
            "children": sorted(names.get(child, child) for child in tree.get("children", [])),
        }
        if "parameters" in tree.get("inputs", {}):
            node["inputs"] = {one["name"]: one["value"] for one in tree["inputs"]["parameters"]}
        if "artifacts" in tree.get("inputs", {}) and self.tells_artifacts:
            node["inputArtifacts"] = _places(tree["inputs"]["artifacts"])
        if "outputs" in tree:
            outputs = dict(tree["outputs"])
            if "artifacts" in outputs:
                outputs["artifacts"] = _places(outputs["artifacts"])
            if not self.tells_artifacts:
                outputs.pop("artifacts", None)
            if "parameters" in outputs:
                outputs["parameters"] = {one["name"]: one.get("value") for one in outputs["parameters"]}
            if outputs:
                node["outputs"] = outputs
        for flag in tree.get("nodeFlag", {}):
            node[flag] = True
        spec = self.specs.get(tree["id"])
        work = spec.work if spec is not None and tree["type"] == "Pod" else None
        if isinstance(work, ContainerSetWork):
            commands = {one.name: [*one.work.command, *one.work.args] for one in work.containers}
            work = next((one.work for one in work.containers if one.name == "main"), None)
            if self.tells_artifacts:
                node["containers"] = commands
            elif work is not None:  # other recordings have the main container's command, and no more
                work = ContainerWork(command=work.command)
        if isinstance(work, ContainerWork):
            given = {"command": work.command, "args": work.args, "env": dict(work.env), "source": work.source}
            node.update({key: value for key, value in given.items() if value})
        if tree["id"] in self.killed and tree["type"] == "Pod":
            node["killed"] = True
        return node


def _places(artifacts: Iterable[Case]) -> Case:
    """Name and place, as the recordings have them."""
    return {one["name"]: _place(one) for one in artifacts}


def _place(tree: Case) -> str:
    kind = store_of(tree)
    if not kind:
        return f"from:{tree.get('from', '')}" if tree.get("from") else ""
    return f"{kind}:{tree[kind].get('data' if kind == 'raw' else KEYS[kind] or 'repo', '')}"


def played(said: Case, spec: StepSpec) -> StepOutcome:
    """What an executor makes of the recorded outcome (docs/golden.md)."""
    phase = said.get("phase", "Succeeded")
    given = said.get("parameters", {})
    result = said.get("result", "") if spec.result and phase != "Error" else None
    parameters: dict[str, str] = {}
    missing = ""
    kept, lost = _kept(said, spec)
    for output in spec.outputs:
        value = given.get(output.name, "v" if phase == "Succeeded" else None)
        if value is None:
            value = output.default
        if value is not None:
            parameters[output.name] = value
        else:
            missing = output.name
            break
    lack = f"parameter {missing}" if missing else f"artifact {lost}" if lost else ""
    if lack and phase == "Succeeded":
        return StepOutcome(
            phase="Error",
            message=f"wait: Error (exit code 1): missing output {lack}",
            exit_code=0,
            result=result,
            parameters=parameters,
            artifacts=kept,
        )
    if isinstance(spec.work, ContainerSetWork):
        return _set_played(said, spec.work, result, parameters, kept)
    extra = f": {said['message']}" if said.get("message") else ""
    given = {"result": result, "parameters": parameters, "artifacts": kept}
    if phase == "Succeeded":
        return StepOutcome(phase=phase, exit_code=0, **given)
    if phase == "Error":
        return StepOutcome(phase=phase, message=f"wait: Error (exit code 1){extra}", exit_code=0, **given)
    code = int(said.get("exitCode", 1))
    return StepOutcome(phase=phase, message=f"main: Error (exit code {code}){extra}", exit_code=code, **given)


def _set_played(
    said: Case, work: ContainerSetWork, result: str | None, parameters: dict[str, str], kept: list[Case]
) -> StepOutcome:
    """All containers run, then all end: with 64 one whose dependency failed. The first that failed tells for all."""
    scripted: dict[str, int] = said.get("containers", {})
    phase = said.get("phase", "Succeeded")
    words = said.get("message", "")
    codes: dict[str, int] = {}
    for one in in_order(work.containers):
        waits = scripted and any(codes[name] for name in one.dependencies)
        usual = int(said.get("exitCode", 1)) if phase == "Failed" and not scripted else 0
        codes[one.name] = 64 if waits else scripted.get(one.name, usual)
    ends = [_container_end(one.name, codes[one.name], words) for one in work.containers]
    bad = next((end for end in ends if end.phase != "Succeeded"), None)
    return StepOutcome(
        phase="Failed" if bad is not None else phase,
        message=bad.message.removesuffix(": ") if bad is not None else "",
        exit_code=codes.get("main"),
        result=result,
        parameters=parameters,
        artifacts=kept,
        containers=ends,
    )


def _container_end(name: str, code: int, words: str = "") -> ContainerEnd:
    phase = {0: "Succeeded", 64: "Error"}.get(code, "Failed")
    return ContainerEnd(name=name, phase=phase, message=f"{name}: Error (exit code {code}): {words}" if code else "")


def _kept(said: Case, spec: StepSpec) -> tuple[list[Case], str]:
    """The artifacts that were kept, and the first that is missing though it is wanted."""
    kept, lost = [], ""
    usual = "v" if said.get("phase", "Succeeded") == "Succeeded" else None
    for tree in spec.output_artifacts:
        if said.get("artifacts", {}).get(tree["name"], usual) is None:
            lost = lost or ("" if tree.get("optional") else tree["name"])
        elif store_of(tree):
            kept.append(tree)
        else:
            kind, folder = next(iter(spec.archive.items()))
            kept.append({**tree, kind: {**folder, "key": f"{folder['key']}/{tree['name']}.tgz"}})
    return kept, lost


def _defaults(spec: StepSpec) -> dict[str, str]:
    found = {}
    for output in spec.outputs:
        if output.default is None:
            break
        found[output.name] = output.default
    return found


class Follower(Player):
    """Plays a case along a recording's rounds: the same pods end in the same order, each as it ended there.

    Pods that the recording does not know end as soon as they run; those that never ended there, last of all. So a
    difference stays where it is, and does not deal other outcomes to everything behind it.
    """

    def __init__(self, case: Case, said: Case) -> None:
        self.place = dict.fromkeys((node["name"] for node in said["nodes"]), MAX_ROUNDS)
        self.place.update((name, at) for at, name in enumerate(said["rounds"]))
        super().__init__({**case, "script": dealt(case, said)})

    def next(self) -> Pod:
        return min(self.ending(), key=lambda pod: (self.place.get(pod.name, -1), pod.name.encode()))

    def reached(self, rounds: int) -> bool:
        names = [self.next().name] if self.ending() else [name for name, *_ in self.waiting()]
        return not names or self.place.get(min(names, key=str.encode), -1) >= rounds


def dealt(case: Case, said: Case) -> Case:
    """The outcome that each node had in the recording."""
    dealer = object.__new__(Player)
    dealer.case, dealer.done_of = case, {}
    templates = {node["name"]: node["templateName"] for node in said["nodes"]}
    return {name: dealer.outcome(name, templates.get(name, "")) for name in said["rounds"]}


def _pod(run: Run, tree: Case) -> str:
    ref = tree.get("templateRef", {})
    template = ref.get("template") or tree.get("templateName", "")
    if tree["id"] == run.name:
        return "\0"
    return run.names.pod_name(template, int(tree["id"].rpartition("-")[2]))


def _starred(text: str) -> str:
    """Failures in one order, without what differs from run to run, however often they are quoted.

    Handlers may see the first message of a killed step or the second.
    """
    text = re.sub(r"workflow shutdown with strategy:  (Stop|Terminate)", "main: Error (exit code 143)", text)
    text = re.sub(r'((?:podName|finishedAt)\\*":\\*")[^"\\]*', r"\g<1>*", text)
    for quote in ("\\" * 7 + '"', "\\" * 3 + '"', '\\"', '"'):
        mark = "{" + quote + "displayName" + quote + ":"
        start = text.find("[" + mark)
        while start >= 0:
            end = text.find("}]", start)
            if end < 0:
                break
            entries = text[start + 2 : end].split("},{")
            text = text[: start + 2] + "},{".join(sorted(entries)) + text[end:]
            start = text.find("[" + mark, end)
    return text


def normal(value: Any) -> Any:
    """A tree with the failures in its texts in normal form."""
    if isinstance(value, str):
        return _starred(value) if "displayName" in value else value
    if isinstance(value, dict):
        return {key: normal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    return value


def _renamed(value: Any, names: dict[str, str], pods: dict[str, str]) -> Any:
    """Ids in texts give way to names, as in the recordings."""
    text = json.dumps(value)
    for known in (names, pods):
        for identity, name in sorted(known.items(), key=lambda one: -len(one[0])):
            if "-" in identity and identity in text:
                text = text.replace(identity, json.dumps(name)[1:-1])
    return json.loads(text)


__all__ = ["Player", "normal", "played"]


def _progress(trees: dict[str, Any]) -> str:
    """Done and all, those of exit runs that are under way among them."""
    counted = [tree["phase"] for tree in trees.values() if tree["type"] in phases.PROGRESSING]
    return f"{counted.count(phases.SUCCEEDED)}/{len(counted)}"
