"""The shape of a DAG template: what depends on what, and under which condition (Argo: common/ancestry.go)."""

from __future__ import annotations

from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.templating import mentions
from exeunt.language.manifest import DAG, Task
from exeunt.language.tasks import depends_on, terms


class Graph:
    """Tasks are known by their numbers. `order` visits a task after its dependencies, targets by name."""

    def __init__(self, dag: DAG) -> None:
        self.dag = dag
        self.tasks = dag.tasks
        self.numbers = {task.name: number for number, task in enumerate(dag.tasks)}
        self.logic: list[str] = []  # empty: all of `dependencies`, plainly
        self.needs: list[list[int]] = []
        for task in dag.tasks:
            names, logic = self._depends(task)
            self.logic.append(logic)
            self.needs.append([self.numbers[name] for name in names if name in self.numbers])
        self.dependents: list[list[int]] = [[] for _ in dag.tasks]
        for number, needs in enumerate(self.needs):
            for need in needs:
                self.dependents[need].append(number)
        self.targets = self._targets(dag)
        self.in_their_turn: set[int] = set()  # targets that nothing before them depends on
        self.order = self._order()
        self.rank = {number: at for at, number in enumerate(self.order)}

    def _depends(self, task: Task) -> tuple[list[str], str]:
        parts: list[str] = []
        end = 0
        for term in terms(task.depends):
            if not term.result:
                start, after = term.span
                parts += [task.depends[end:start], self._plain(term.task)]
                end = after
        return list(depends_on(task)), "".join([*parts, task.depends[end:]])

    def _plain(self, name: str) -> str:
        """A bare name in `depends`: it went well, or was skipped, or may fail."""
        wanted = ["Succeeded", "Skipped", "Daemoned"]
        number = self.numbers.get(name)
        lenient = self.tasks[number].continue_on if number is not None else None
        if lenient is not None:
            wanted += ["Errored"] * lenient.error + ["Failed"] * lenient.failed
        return "(" + " || ".join(f"{name}.{one}" for one in wanted) + ")"

    def _targets(self, dag: DAG) -> list[int]:
        if dag.target:
            return [self.numbers[name] for name in dag.target.split(" ") if name in self.numbers]
        leaves = [number for number in range(len(self.tasks)) if not self.dependents[number]]
        return sorted(leaves, key=lambda number: self.tasks[number].name)

    def _order(self) -> list[int]:
        seen: dict[int, None] = {}
        entered: set[int] = set()
        for target in self.targets:
            if target not in entered:
                self.in_their_turn.add(target)
            stack = [(target, False)]
            while stack:
                number, done = stack.pop()
                if done:
                    seen[number] = None
                elif number not in entered:
                    entered.add(number)
                    stack.append((number, True))
                    stack.extend((need, False) for need in reversed(self.needs[number]))
        return list(seen)

    def is_ancestor(self, number: int, of: int) -> bool:
        """Whether a task comes before another, however far."""
        if self.rank.get(number, 0) >= self.rank.get(of, 0):
            return False
        if number in self.needs[of]:
            return True
        stack, seen = list(self.needs[of]), set(self.needs[of])
        while stack:
            for need in self.needs[stack.pop()]:
                if need == number:
                    return True
                if need not in seen:
                    seen.add(need)
                    stack.append(need)
        return False

    def ancestors(self, of: int) -> set[int]:
        stack, seen = list(self.needs[of]), set(self.needs[of])
        while stack:
            for need in self.needs[stack.pop()]:
                if need not in seen:
                    seen.add(need)
                    stack.append(need)
        return seen


class Graphs:
    """Those that are the same for every node of their template, by the id of the template's `dag`."""

    def __init__(self) -> None:
        self.shared: dict[int, Graph] = {}


class NodeGraph:
    """The graph of a DAG node."""

    graph: Graph | None = None


def graph_of(run: Run, node: Node, dag: DAG) -> Graph:
    """The graph of a DAG node's template, made once for each form that its inputs give it."""
    own = run.memory.of(NodeGraph, node.key)
    if own.graph is None or own.graph.dag is not dag:
        shared = run.memory.of(Graphs).shared
        found = shared.get(id(dag))
        if found is None:
            found = Graph(dag)
            if not mentions(run, dag, "{{"):  # one without tags is the same for every node of its template
                shared[id(dag)] = found
        own.graph = found
    return own.graph
