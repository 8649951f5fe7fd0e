"""Which variables an expression uses."""

from __future__ import annotations

from exeunt.language.expression import tree

Paths = frozenset[tuple[str, ...]]


def free_paths(root: tree.Expr, known: frozenset[str]) -> tuple[Paths, Paths]:
    """The paths of all variables, and of those that must be there; `known` are names that are always there."""
    walk = _Walk(known)
    walk.visit(root, frozenset(), guarded=False)
    return frozenset(walk.all), frozenset(walk.required)


def path_of(node: tree.Expr) -> tuple[tree.Name, tuple[str, ...], bool] | None:
    """The variable, the fixed path from it, and whether a `?.` is in it."""
    keys: list[str] = []
    optional = False
    while True:
        match node:
            case tree.Chain(node=inner):
                node = inner
            case tree.Member(node=inner, key=tree.Constant(value=str(key))):
                keys.append(key)
                optional = optional or node.optional
                node = inner
            case tree.Name():
                return node, tuple(reversed(keys)), optional
            case _:
                return None


class _Walk:
    def __init__(self, known: frozenset[str]) -> None:
        self.known = known
        self.all: set[tuple[str, ...]] = set()
        self.required: set[tuple[str, ...]] = set()

    def visit(self, node: tree.Expr, bound: frozenset[str], *, guarded: bool) -> None:
        found = path_of(node)
        if found is not None:
            self.add(*found, bound, guarded=guarded)
            return
        match node:
            case tree.Let():
                self.visit(node.value, bound, guarded=guarded)
                self.visit(node.body, bound | {node.name}, guarded=guarded)
            case tree.Binary(operator="??"):
                self.visit(node.left, bound, guarded=True)
                self.visit(node.right, bound, guarded=guarded)
            case tree.Binary():
                while isinstance(node, tree.Binary) and node.operator != "??":  # a long chain is no recursion
                    self.visit(node.right, bound, guarded=guarded)
                    node = node.left
                self.visit(node, bound, guarded=guarded)
            case tree.Call(callee=tree.Member(node=base)):
                for part in (base, *node.arguments):
                    self.visit(part, bound, guarded=guarded)
            case _:
                for part in tree.children(node):
                    self.visit(part, bound, guarded=guarded)

    def add(
        self, name: tree.Name, keys: tuple[str, ...], optional: bool, bound: frozenset[str], *, guarded: bool
    ) -> None:
        if name.name in bound or name.name in self.known:
            return
        path = (name.name, *keys) if name.name != "$env" else keys
        if not path:
            return
        self.all.add(path)
        self.required.add(path[:1] if guarded or optional else path)
