"""Walking through templates as a run would, from a reference to what it names, and checking each template once.

What a template may name depends on where the walk has been: a step sees the outputs of those before it, and everybody
sees the global outputs of templates met so far. So the walk keeps the order in which Argo's validation goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from msgspec import UNSET

from exeunt.language import rules
from exeunt.language.edges import check_edges
from exeunt.language.load import Document
from exeunt.language.manifest import Arguments, LifecycleHook, Step, Task, Template, WorkflowSpec
from exeunt.language.named import with_names
from exeunt.language.pods import check_pod
from exeunt.language.problems import nearest, quoted_list, shorten
from exeunt.language.report import Place, Report
from exeunt.language.tasks import Order, has_loop
from exeunt.language.template_lookup import Found, TemplateNotFoundError, Templates, ref_scope
from exeunt.language.template_types import TEMPLATE_TYPES, types_of
from exeunt.language.visible import TaggedTexts, Visible, constant, without_nested
from exeunt.language.volume_rules import check_mount_places

Walking = Iterator["Walking"]
"""A walk yields the walks that come first; `run` does them without recursion, however deep templates call."""


def run(walk: Walking) -> None:
    """Do a walk and all that it asks for, innermost first."""
    stack = [walk]
    while stack:
        inner = next(stack[-1], None)
        if inner is None:
            stack.pop()
        else:
            stack.append(inner)


@dataclass
class Origin:
    """Where the templates of a scope stand, and the spec that holds them."""

    document: Document
    spec: WorkflowSpec


class Walker:
    """Checks templates: each one's own rules, and the texts in it against the variables that it can see."""

    def __init__(self, templates: Templates, origins: Mapping[str, Origin], report: Report) -> None:
        self.shared: dict[str, str | None] = {}
        """Variables of the whole workflow, with their values where they are known."""
        self.open: tuple[str, ...] = ()
        """Prefixes of workflow variables that are known only later."""
        self.arguments: Arguments | None = None
        """The workflow's own, which an exit handler without arguments gets; None when they come later."""
        self._templates = templates
        self._origins = origins
        self._report = report
        self._texts = TaggedTexts(report)
        self._places = {
            (scope, template.name): Place(origin.document, ("spec", "templates", at))
            for scope, origin in origins.items()
            for at, template in reversed(list(enumerate(origin.spec.templates)))
        }
        self._done: set[tuple[str, str] | int] = set()

    def visit_all(self, scope: str) -> None:
        """Check the templates of a scope that nothing has led to yet."""
        for owner, name in reversed(list(self._places)):
            if owner == scope and name:
                self.visit(name, scope, None, self._places[owner, name])

    def visit(self, name: str, scope: str, arguments: Arguments | None, place: Place) -> None:
        """Check a template by name and everything it leads to. `arguments` None: they come from elsewhere."""
        found = self._named(name, scope, place)
        if found is not None:
            at = self._places[found.scope, found.name]
            run(self._contents(found, at, arguments))
            rules.check_supplied(found.template, arguments, place, self._report)
            self._share(found.template)

    def _share(self, template: Template) -> None:
        """What a template that nobody calls as a step gives to the workflow, for the handlers after it."""
        named = [("workflow.outputs.parameters.", one.global_name) for one in template.outputs.parameters]
        named += [("workflow.outputs.artifacts.", one.global_name) for one in template.outputs.artifacts]
        for prefix, name in named:
            if name and rules.HAS_TAG.search(name):
                self.open = (*self.open, prefix)
            elif name:
                self.shared[prefix + name] = None

    def check_hook(self, name: str, hook: LifecycleHook, scope: str, visible: Visible, place: Place) -> None:
        """The template of a hook exists. Argo looks only when the hook is due, which is too late for a handler."""
        if not hook.template and hook.template_ref is None:
            self._report.add(place, "names no template; give it 'template' or 'templateRef'")
        elif hook.template and hook.template_ref is not None:
            self._report.add(place.at("template"), "stands beside a templateRef; keep one")
        else:
            found = self._resolve(hook, scope, visible, place)
            arguments: Arguments | None = hook.arguments
            if name == "exit" and not (hook.arguments.parameters or hook.arguments.artifacts):
                arguments = self.arguments
            self._warn_handler(found, arguments, place)

    def check_workflow_hook(self, name: str, hook: LifecycleHook, scope: str, place: Place) -> None:
        """A hook of the workflow. Unknown names in its arguments are passed on as they stand, as in Argo."""
        visible = Visible(self.shared, self.open)
        self.check_hook(name, hook, scope, visible, place)
        self._texts.check(hook.arguments, visible, place.at("arguments"), warning=True)
        rules.check_no_item(hook, place, self._report)

    def _warn_handler(self, found: Found | None, arguments: Arguments | None, place: Place) -> None:
        """Argo accepts a handler whose inputs get no value, and it ends in Error when it is due."""
        if found is not None and arguments is not None:
            for name in rules.missing_inputs(found.template, arguments):
                told = f"the input {name} of the handler {found.name} gets no value: it would end in Error"
                self._report.add(place, told, warning=True)

    # finding ----------------------------------------------------------------------------------------------------

    def _named(self, name: str, scope: str, place: Place) -> Found | None:
        try:
            found = self._templates.named(name, scope)
        except TemplateNotFoundError:
            names = [known for known in self._templates.names(scope) if known]
            if scope and scope not in self._origins:
                self._report.add(place, f"there is no {_describe(scope)}")
            else:
                there = f"; there are {quoted_list(names)}" if len(names) <= 12 and names else ""
                told = nearest(name, names) or there
                inside = f" in {_describe(scope)}" if not scope.startswith("local/") else ""
                self._report.add(place, f"there is no template {shorten(name)!r}{inside}{told}")
            return None
        return found

    def _resolve(self, holder: Step | LifecycleHook, scope: str, visible: Visible, place: Place) -> Found | None:
        """What a step, task or hook names, or None after it has been reported (or cannot be known yet)."""
        inline = holder.inline if isinstance(holder, Step) else None
        ref = holder.template_ref
        if ref is not None:
            if holder.template:
                self._report.add(place.at("template"), "stands beside a templateRef; keep one")
                return None
            where = place.at("templateRef")
            if not ref.name or not ref.template:
                self._report.add(where, "needs both 'name' and 'template'")
                return None
            name, template = visible.constant(ref.name), visible.constant(ref.template)
            if name is None or template is None:
                return None
            target = ref_scope(ref).partition("/")[0] + "/" + name
            found = self._named(template, target, where.at("template" if target in self._origins else "name"))
            return found if inline is None or found is None else Found(inline, scope, "")
        found = None
        if holder.template:
            name = visible.constant(holder.template)
            if name is None:
                told = "must be known at submission; a variable that gets its value later cannot name a template"
                self._report.add(place.at("template"), told)
                return None
            found = self._named(name, scope, place.at("template"))
        if inline is not None:
            return Found(inline, scope, "")
        if not holder.template:
            self._report.add(place, "names no template; give it 'template', 'templateRef' or 'inline'")
        return found

    def _place(self, found: Found, holder: Place) -> Place:
        return self._places[found.scope, found.name] if found.name else holder.at("inline")

    # a template ---------------------------------------------------------------------------------------------------

    def _contents(self, found: Found, place: Place, arguments: Arguments | None = None) -> Walking:
        template = found.template
        key = (found.scope, found.name) if found.name else id(template)
        if key in self._done or self._report.full:
            return
        self._done.add(key)
        kinds = types_of(template)
        if len(kinds) != 1:
            has = f"has {len(kinds)} types, {' and '.join(kinds)}; keep one" if kinds else "does nothing; give it one"
            self._report.add(place, f"{has} of {', '.join(TEMPLATE_TYPES)}")
            return
        kind = kinds[0]
        rules.check_inputs(template, place, self._report)
        rules.check_retry(template.retry_strategy, place.at("retryStrategy"), self._report)
        self._check_fields(template, kind, place)
        visible = self._visible(template, kind, arguments)
        visible.inline = not found.name
        if kind == "steps":
            yield from self._steps(template, found.scope, visible, place)
        elif kind == "dag":
            yield from self._dag(template, found.scope, visible, place)
        else:
            self._leaf(template, kind, found.scope, visible, place)
        rules.check_outputs(template, place, self._report)
        if TEMPLATE_TYPES[kind].composite:
            self._texts.check(template.outputs, visible, place.at("outputs"))

    def _check_fields(self, template: Template, kind: str, place: Place) -> None:
        if template.timeout and not TEMPLATE_TYPES[kind].leaf:
            self._report.add(place.at("timeout"), f"is not for {kind} templates")
        elif template.timeout.lstrip("+-").isdecimal():
            told = f"needs a unit; {template.timeout}s are seconds"
            self._report.add(place.at("timeout"), told)
        if template.pending_timeout and not TEMPLATE_TYPES[kind].leaf:
            self._report.add(place.at("pendingTimeout"), f"is not for {kind} templates")
        composite = TEMPLATE_TYPES[kind].composite
        if composite and template.active_deadline_seconds is not None:
            self._report.add(place.at("activeDeadlineSeconds"), f"is not for {kind} templates")
        elif not rules.whole_number(template.active_deadline_seconds) or _negative(template.active_deadline_seconds):
            self._report.add(place.at("activeDeadlineSeconds"), "must be a whole number of seconds above 0")
        if not composite and template.parallelism is not None:
            self._report.add(place.at("parallelism"), "is for steps and dag templates only")

    def _visible(self, template: Template, kind: str, arguments: Arguments | None) -> Visible:
        visible = Visible(self.shared, self.open)
        given = {p.name: p.value for p in arguments.parameters} if arguments is not None else {}
        for parameter in template.inputs.parameters:
            value = given.get(parameter.name, UNSET)
            known = value if value is not UNSET else UNSET if arguments is None else parameter.value
            visible.add(f"inputs.parameters.{parameter.name}", constant(known))
        if template.inputs.parameters:
            visible.add("inputs.parameters")
        for artifact in template.inputs.artifacts:
            visible.add(f"inputs.artifacts.{artifact.name}")
            if TEMPLATE_TYPES[kind].leaf:
                visible.add(f"inputs.artifacts.{artifact.name}.path")
        if TEMPLATE_TYPES[kind].pod:
            visible.add("pod.name")
        return visible

    def _leaf(self, template: Template, kind: str, scope: str, visible: Visible, place: Place) -> None:
        self._texts.check(template, visible, place)
        check_pod(template, place, self._report)
        check_mount_places(template, kind, place, self._report)
        running = template.container or template.script
        if running is not None and not running.image and not self._default_image(kind, scope):
            self._report.add(place.at(kind), "has no image")
        if template.resource is not None:
            rules.check_resource(template.resource, visible, place.at("resource"), self._report)
        if template.plugin is not None and len(template.plugin) != 1:
            self._report.add(
                place.at("plugin"), f"must have exactly one key, the plugin's name; it has {len(template.plugin)}"
            )

    def _default_image(self, kind: str, scope: str) -> bool:
        origin = self._origins.get(scope)
        defaults = origin.spec.template_defaults if origin is not None and not scope.startswith("cluster/") else None
        running = (defaults.container if kind == "container" else defaults.script) if defaults is not None else None
        return running is not None and bool(running.image)

    # steps ------------------------------------------------------------------------------------------------------

    def _steps(self, template: Template, scope: str, visible: Visible, place: Place) -> Walking:
        template = with_names(template, visible, self._texts, place)
        visible.siblings = frozenset(f"steps.{step.name}" for group in template.steps or [] for step in group)
        names: set[str] = set()
        for group, steps in enumerate(template.steps or []):
            for at, step in enumerate(steps):
                here = place.at("steps", group, at)
                self._step_name(step, names, here)
                visible.add(f"steps.{step.name}.status")
                rules.check_loop(step, here, self._report)
                _add_items(step, visible)
                rules.check_arguments(step.arguments, here.at("arguments"), self._report)
                found = self._resolve(step, scope, visible, here)
                if found is not None:
                    yield self._contents(found, self._place(found, here))
                if _has_exit(step):
                    self._add_outputs(found, "steps", step, visible)
                self._hooks(step, scope, visible, here)
                seen = visible
                if step.inline is not None:
                    seen = visible.child()
                    _add_inputs(step.inline, seen)
                self._texts.check(step, seen, here)
                self._add_outputs(found, "steps", step, visible, loop=bool(step.with_items or step.with_param))
                if found is not None:
                    rules.check_supplied(found.template, step.arguments, here, self._report)

    def _step_name(self, step: Step, names: set[str], here: Place) -> None:
        if not step.name:
            self._report.add(here, "has no name")
        elif step.name in names:
            self._report.add(here.at("name"), f"{step.name!r} is not unique; another step here has the same name")
        elif wrong := rules.field_name(step.name):
            self._report.add(here.at("name"), wrong)
        names.add(step.name)

    def _hooks(self, step: Step, scope: str, visible: Visible, here: Place) -> None:
        rules.check_hook_expressions(step.hooks, here.at("hooks"), self._report)
        rules.check_own_hooks(step, here.at("hooks"), self._report, loop=has_loop(step))
        for name, hook in step.hooks.items():
            self.check_hook(name, hook, scope, visible, here.at("hooks", name))
        handler = visible.constant(step.on_exit)
        if handler and "exit" in step.hooks:
            rules.told_twice(handler, here.at("hooks", "exit"), self._report)
        if handler:
            self._warn_handler(self._named(handler, scope, here.at("onExit")), self.arguments, here.at("onExit"))

    def _add_outputs(self, found: Found | None, root: str, step: Step, visible: Visible, *, loop: bool = False) -> None:
        """What others can name of a step or task: `steps.NAME.…` or `tasks.NAME.…`."""
        base = f"{root}.{step.name}."
        for part in ("id", "startedAt", "finishedAt", "hostNodeName"):
            visible.add(base + part)
        if found is None:  # what it gives out is unknown; the template itself has been reported
            visible.add_open(base)
            return
        template = found.template
        kinds = types_of(template)
        if template.daemon:
            visible.add(base + "ip")
        if _has_result(template, kinds):
            visible.add(base + "outputs.result")
            visible.add(base + "exitCode")
        if loop:
            visible.add(base + "outputs.parameters")
            if kinds and kinds[0] in ("script", "containerSet"):
                visible.add(base + "outputs.result")
                visible.add(base + "exitCode")
        for parameter in template.outputs.parameters:
            visible.add(f"{base}outputs.parameters.{parameter.name}")
            self._add_global("workflow.outputs.parameters.", parameter.global_name, visible)
        for artifact in template.outputs.artifacts:
            visible.add(f"{base}outputs.artifacts.{artifact.name}")
            self._add_global("workflow.outputs.artifacts.", artifact.global_name, visible)

    def _add_global(self, prefix: str, name: str, visible: Visible) -> None:
        if name and rules.HAS_TAG.search(name):
            visible.add_open(prefix)
        elif name:
            self.shared[prefix + name] = None

    # dag --------------------------------------------------------------------------------------------------------

    def _dag(self, template: Template, scope: str, visible: Visible, place: Place) -> Walking:
        dag = with_names(template, visible, self._texts, place).dag
        assert dag is not None
        if not dag.tasks:
            self._report.add(place.at("dag"), "has no tasks; give it at least one")
            return
        positions = {task.name: at for at, task in reversed(list(enumerate(dag.tasks)))}
        rules.check_names(dag.tasks, place.at("dag", "tasks"), self._report)
        order = Order(dag)
        visible.siblings = frozenset(f"tasks.{name}" for name in order.tasks)
        check_edges(order, positions, place.at("dag"), self._report)
        resolved: dict[str, Found | None] = {}
        sequence = order.sequence if len(order.sequence) == len(order.tasks) else list(order.tasks)
        for name in sequence:
            task, here = order.tasks[name], place.at("dag", "tasks", positions[name])
            found = resolved[name] = self._resolve(task, scope, visible, here)
            if found is not None:
                yield self._contents(found, self._place(found, here))
            self._add_outputs(found, "tasks", task, visible, loop=bool(task.with_items or task.with_param))
        self._targets(dag.target, order, visible, place.at("dag", "target"))
        for name in sequence:
            task, here = order.tasks[name], place.at("dag", "tasks", positions[name])
            self._task(task, resolved[name], scope, order=order, visible=visible, here=here)

    def _targets(self, target: str, order: Order, visible: Visible, place: Place) -> None:
        self._texts.check(target, visible, place)
        known = visible.constant(target)
        for name in visible.named(target).split(" ") if target else []:
            if name not in order.tasks:
                shown = target if known is None else name
                self._report.add(place, f"there is no task {shorten(shown)!r}{nearest(name, order.tasks)}")

    def _task(
        self, task: Task, found: Found | None, scope: str, *, order: Order, visible: Visible, here: Place
    ) -> None:
        if task.hooks:
            visible.add(f"tasks.{task.name}.status")
        self._hooks(task, scope, visible, here)
        seen = visible.child() if task.inline is not None or has_loop(task) else visible
        if task.inline is not None:
            _add_inputs(task.inline, seen)
        rules.check_loop(task, here, self._report)
        _add_items(task, seen)

        def is_status_before(name: str) -> bool:
            parts = name.split(".")
            return parts[0] == "tasks" and parts[2:] == ["status"] and order.is_before(parts[1], task.name)

        self._texts.check(task, seen, here, also=is_status_before)
        rules.check_arguments(task.arguments, here.at("arguments"), self._report)
        self._needs_edge(task, order, visible, here)
        if found is not None:
            rules.check_supplied(found.template, task.arguments, here, self._report)

    def _needs_edge(self, task: Task, order: Order, visible: Visible, here: Place) -> None:
        """An argument that is another task's output needs that task to come before."""
        values = [("parameters", at, p.value) for at, p in enumerate(task.arguments.parameters)]
        values += [("artifacts", at, a.from_) for at, a in enumerate(task.arguments.artifacts)]
        for field, at, value in values:
            if isinstance(value, str) and value.startswith("{{tasks."):
                name = without_nested(value, visible).split(".")[1]
                if not order.is_before(name, task.name):
                    where = here.at("arguments", field, at, "value" if field == "parameters" else "from")
                    self._report.add(where, f"uses task {shorten(name)!r}, which {task.name} does not depend on")


def _describe(scope: str) -> str:
    kind, _, name = scope.partition("/")
    return f"{'ClusterWorkflowTemplate' if kind == 'cluster' else 'WorkflowTemplate'} {shorten(name)!r}"


def _negative(value: object) -> bool:
    text = str(value)
    return text.startswith("-") and text[1:].isdecimal()


def _has_exit(step: Step) -> bool:
    return bool(step.on_exit) or "exit" in step.hooks


def _has_result(template: Template, kinds: Iterable[str]) -> bool:
    if template.container_set is not None:
        return any(one.name == "main" for one in template.container_set.containers)
    return any(TEMPLATE_TYPES[kind].result for kind in kinds)


def _add_inputs(inline: Template, visible: Visible) -> None:
    for parameter in inline.inputs.parameters:
        visible.add(f"inputs.parameters.{parameter.name}")


def _add_items(step: Step, visible: Visible) -> None:
    """`item.KEY` for what the items have. What a list at run time holds is not known: then anything goes."""
    for item in step.with_items or []:
        if isinstance(item, dict):
            for key in item:
                visible.add(f"item.{key}")
        elif isinstance(item, list):
            for at in range(len(item)):
                visible.add(f"item.[{at}]")
    if step.with_param:
        visible.add_open("item.")
