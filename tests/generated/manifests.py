"""Random workflows with weights towards what is hard: hooks, retries, loops, stops, gates, handlers in handlers.

A seed is a workflow, what its steps come to, and what people do to it meanwhile.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

Manifest = dict[str, Any]

WORDS = ("x", "heads", "two words", "1.5")
UNREADABLE = ("{{inputs.parameters.m}} == ]", "not so", "a-b == ")
LOOPS: tuple[Manifest, ...] = (
    {"withItems": ["x", "y"]},
    {"withItems": [{"k": "p", "v": 1}, {"k": "q", "v": 2}]},
    {"withItems": [["a", "b"], "c", 3]},
    {"withItems": []},
    {"withParam": '["x", "two words"]'},
    {"withSequence": {"count": "2"}},
    {"withSequence": {"start": "3", "end": "1"}},
)
RETRIES: tuple[Manifest, ...] = (
    {"limit": 1},
    {"limit": 2, "retryPolicy": "Always"},
    {"limit": 1, "retryPolicy": "OnError"},
    {"limit": 2, "expression": "lastRetry.status == 'Failed'"},
    {"limit": 1, "backoff": {"duration": "5"}},
)
OPERATIONS = ("Stop", "Stop", "Stop", "Terminate", "Delete", "Suspend", "Lose", "Time")


class Generated(NamedTuple):
    """`operations` happen after so many ends of steps; `bad` is the share of steps that do not go well."""

    spec: Manifest
    operations: list[tuple[int, str]]
    bad: float


def generate(seed: int) -> Generated:
    draw = Random(seed)
    writer = _Writer(draw)
    spec = writer.spec()
    _with_pods(spec, Random(f"pods {seed}"))
    operations = []
    if draw.random() < 0.45:
        operations = sorted((draw.randrange(9), draw.choice(OPERATIONS)) for _ in range(1 + (draw.random() < 0.3)))
    return Generated(spec, operations, draw.choice((0.1, 0.3, 0.6)))


def _with_pods(spec: Manifest, draw: Random) -> None:
    """Some of the plain calls are of a daemon, or of a set of containers."""
    if draw.random() < 0.75:
        return
    given = {"inputs": {"parameters": [{"name": "m", "value": "0"}]}}
    again = {"retryStrategy": {"limit": 1}} if draw.random() < 0.3 else {}
    members = [{"name": "one", "image": "i"}, {"name": "main", "image": "i", "dependencies": ["one"]}]
    for template in spec["templates"]:
        steps = [step for group in template.get("steps", []) for step in group]
        for call in (*steps, *template.get("dag", {}).get("tasks", [])):
            if call.get("template") == "t" and draw.random() < 0.4:
                call["template"] = draw.choice(("serve", "set"))
    spec["templates"] += [
        {"name": "serve", "daemon": True, **given, **again, "container": {"image": "i"}},
        {"name": "set", **given, **again, "containerSet": {"containers": members}},
    ]


class _Writer:
    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.depending = False  # the DAG that is written uses `depends`

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def spec(self) -> Manifest:
        work = ["t", "t", "p", "r", "gate"] if self.chance(0.3) else ["t", "t", "p", "r"]
        handlers = self.handlers()
        names = [one["name"] for one in handlers]
        inner = self.graph("inner", work, names)
        middle = self.graph("middle", [*work, "inner", "inner"], names)
        main = self.graph("main", [*work, "inner", "middle", "middle"], names)
        spec: Manifest = {"entrypoint": "main", "templates": [main, middle, inner, *self.leaves(), *handlers]}
        spec["arguments"] = {"parameters": [{"name": "q", "value": "1"}]}
        if self.chance(0.5):
            spec["hooks"] = {"exit": self.hook(names, [])}
        elif self.chance(0.4):
            spec["onExit"] = self.draw.choice(names)
        if self.chance(0.15):
            seen = {"template": self.draw.choice(names), "expression": 'workflow.status == "Running"'}
            spec.setdefault("hooks", {})["seen"] = seen
        if self.chance(0.12):
            spec["parallelism"] = self.draw.randint(1, 3)
        if self.chance(0.08):
            spec["activeDeadlineSeconds"] = self.draw.randint(1, 20)
        if self.chance(0.03):
            spec["retryStrategy"] = {"limit": 1}
        return spec

    # --- templates ----------------------------------------------------------------------------------------------------

    def leaves(self) -> list[Manifest]:
        given = {"inputs": {"parameters": [{"name": "m", "value": "0"}]}}
        body = {"image": "i", "command": ["true"], "args": ["{{inputs.parameters.m}}"]}
        output = {"outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/o"}}]}}
        return [
            {"name": "t", **given, "container": body},
            {"name": "p", **given, **output, "container": body, **self.timeout()},
            {"name": "r", **given, "retryStrategy": self.draw.choice(RETRIES), "container": body},
            {"name": "gate", **given, "suspend": self.draw.choice(({}, {}, {"duration": "5"}))},
            {"name": "asks", "inputs": {"parameters": [{"name": "needed"}]}, "container": {"image": "i"}},
        ]

    def timeout(self) -> Manifest:
        return {"timeout": "7s"} if self.chance(0.2) else {}

    def handlers(self) -> list[Manifest]:
        given = {"inputs": {"parameters": [{"name": "m", "value": "0"}]}}
        body = {"image": "i", "command": ["true"], "args": ["{{inputs.parameters.m}}"]}
        found: list[Manifest] = [{"name": "h", **given, "container": body}]
        if self.chance(0.4):
            found.append({"name": "hr", **given, "retryStrategy": self.draw.choice(RETRIES), "container": body})
        if self.chance(0.5):
            found.append(self.graph("hg", ["t", "r", "h"], ["h"], small=True))
        if self.chance(0.15):
            found.append(self.graph("hw", ["t", "gate"], ["h"], small=True))
        return found

    def graph(self, name: str, callable_: list[str], handlers: list[str], *, small: bool = False) -> Manifest:
        kind = self.draw.choice(("steps", "tasks"))
        count = self.draw.randint(1, 2 if small else 4)
        calls: list[Manifest] = []
        self.depending = kind == "tasks" and self.chance(0.5)
        for at in range(count):
            calls.append(self.call(kind, "abcd"[at], callable_, handlers, [one["name"] for one in calls]))
        template: Manifest = {"name": name, "inputs": {"parameters": [{"name": "m", "value": "0"}]}}
        if kind == "tasks":
            template["dag"] = {"tasks": calls}
            if self.chance(0.25):
                template["dag"]["failFast"] = self.chance(0.3)
        else:
            groups: list[list[Manifest]] = [[]]
            for call in calls:
                if groups[-1] and self.chance(0.4):
                    groups.append([])
                groups[-1].append(call)
            template["steps"] = groups
        if self.chance(0.25):
            template["failFast"] = True
        if self.chance(0.12):
            template["parallelism"] = self.draw.randint(1, 2)
        if self.chance(0.2):
            template["retryStrategy"] = self.draw.choice(RETRIES)
        return template

    # --- steps and tasks ----------------------------------------------------------------------------------------------

    def call(self, kind: str, name: str, callable_: list[str], handlers: list[str], before: list[str]) -> Manifest:
        call: Manifest = {"name": name, "template": self.draw.choice(callable_)}
        loop = self.chance(0.3)
        if loop:
            call.update(self.draw.choice(LOOPS))
        value = self.value(kind, before, loop=loop)
        if value:
            call["arguments"] = {"parameters": [{"name": "m", "value": value}]}
        if self.chance(0.16):
            call["when"] = self.draw.choice(("false", "true", *self.condition(kind, before), *UNREADABLE))
        if self.chance(0.15) and not self.depending:
            call["continueOn"] = {"failed": True, "error": self.chance(0.5)}
        work = call["template"] in ("t", "p", "r") and not loop
        told = ("status", "exitCode", "outputs.result") if work else ("status",)
        own = [f"{{{{{kind}.{name}.{what}}}}}" for what in told]
        hooks: Manifest = {}
        if self.chance(0.55):
            hooks["exit"] = self.hook(handlers, [*own, *["{{item}}"] * 3 * loop])
        for other, status in (("running", "Running"), ("ok", "Succeeded"), ("bad", "Failed")):
            if self.chance(0.12):
                hooks[other] = {
                    **self.hook(handlers, own),
                    "expression": f"{kind}.{name}.status == '{status}'",
                }
        if self.chance(0.05) and work:
            hooks["odd"] = {"template": "h", "expression": f"int({kind}.{name}.outputs.result) > 5"}
        if hooks:
            call["hooks"] = hooks
        if kind == "tasks" and before and self.chance(0.7):
            call.update(self.needs(before))
        return call

    def needs(self, before: list[str]) -> Manifest:
        chosen = self.draw.sample(before, self.draw.randint(1, min(2, len(before))))
        if not self.depending:
            return {"dependencies": chosen}
        ends = ("", "", ".Failed", ".Succeeded", ".Errored", ".Skipped")
        return {"depends": self.draw.choice((" && ", " || ")).join(one + self.draw.choice(ends) for one in chosen)}

    def value(self, kind: str, before: list[str], *, loop: bool) -> str:
        choices = ["", "", "7", "{{workflow.parameters.q}}", "{{inputs.parameters.m}}"]
        if loop:
            choices += ["{{item}}"] * 3
        if before and kind == "steps":
            one = self.draw.choice(before)
            choices += [f"{{{{{kind}.{one}.status}}}}"]
        return self.draw.choice(choices)

    def condition(self, kind: str, before: list[str]) -> list[str]:
        return [f"{{{{{kind}.{one}.status}}}} == Succeeded" for one in before] if kind == "steps" else []

    def hook(self, handlers: list[str], own: list[str]) -> Manifest:
        """A hook whose argument may be one of its own step's variables."""
        hook: Manifest = {"template": self.draw.choice(handlers)}
        if self.chance(0.4):
            values = ["{{workflow.status}}", "7", *own]
            hook["arguments"] = {"parameters": [{"name": "m", "value": self.draw.choice(values)}]}
        if self.chance(0.08):
            hook["expression"] = self.draw.choice(("true", "false", 'workflow.status != "Failed"'))
        return hook
