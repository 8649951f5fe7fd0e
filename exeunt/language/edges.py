"""The rules for how the tasks of a DAG depend on each other, with `depends` or with `dependencies`."""

from __future__ import annotations

from collections.abc import Mapping

from exeunt.language.problems import nearest, shorten
from exeunt.language.report import Place, Report
from exeunt.language.tasks import OF_ITEMS, RESULTS, Order, has_loop, terms


def check_edges(order: Order, positions: Mapping[str, int], place: Place, report: Report) -> None:
    """Every edge leads to a task, asks what that task can answer, and the whole has an order."""
    using_depends = any(task.depends for task in order.tasks.values())
    for name, task in order.tasks.items():
        here = place.at("tasks", positions[name])
        if (using_depends or task.dependencies) and name[:1].isdigit():
            report.add(here.at("name"), "cannot start with a digit where tasks depend on each other")
        if using_depends and task.dependencies:
            report.add(here.at("dependencies"), "cannot stand in a dag that uses 'depends'; put it there")
        if using_depends and task.continue_on is not None:
            told = "cannot stand in a dag that uses 'depends'; say NAME.Failed or NAME.Errored there instead"
            report.add(here.at("continueOn"), told)
        field = "depends" if task.depends else "dependencies"
        for at, (dep, of_items) in enumerate(order.wanted[name].items()):
            where = here.at(field) if task.depends else here.at(field, at)
            if dep not in order.tasks:
                report.add(where, f"there is no task {shorten(dep)!r}{nearest(dep, order.tasks)}")
            elif of_items and not has_loop(order.tasks[dep]):
                told = f"asks {dep} for {' or '.join(sorted(OF_ITEMS))}, but {dep} has no items"
                report.add(where, told)
        for dep, result, _ in terms(task.depends):
            if result and result not in RESULTS:
                told = f"{dep}.{result} is no result; there are {', '.join(RESULTS)}{nearest(result, RESULTS)}"
                report.add(here.at("depends"), told)
    if ring := order.cycle():
        here = place.at("tasks", positions[ring[0]])
        shown = ring if len(ring) <= 12 else [*ring[:10], "…", ring[-1]]
        report.add(here, f"tasks wait for each other in a circle: {' → '.join(shown)}")
