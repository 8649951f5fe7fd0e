"""Makes a wrong workflow smaller while the same kind of thing stays wrong with it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.generated.manifests import Generated
from tests.generated.play import RefusedError, wrongs_of

Path = tuple[Any, ...]


def reduced(seed: int, made: Generated, kind: str) -> Generated:
    """The smallest that taking away one piece after the other leads to; `kind` is a line's second word."""
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(made):
            if _is(seed, smaller, kind):
                made, changed = smaller, True
                break
    return made


def _is(seed: int, made: Generated, kind: str) -> bool:
    try:
        return any(line.split(": ")[1] == kind for line in wrongs_of(seed, made))
    except (RefusedError, KeyError, ValueError, TypeError):
        return False


def _smaller(made: Generated) -> Iterator[Generated]:
    """Without an operation; then without one piece of the manifest, large ones first."""
    for at in range(len(made.operations)):
        yield made._replace(operations=[one for number, one in enumerate(made.operations) if number != at])
    for path in sorted(_pieces(made.spec, ()), key=len):
        spec = copy.deepcopy(made.spec)
        holder = spec
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]
        yield made._replace(spec=spec)


def _pieces(tree: Any, path: Path) -> Iterator[Path]:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield (*path, key)
        yield from _pieces(tree[key], (*path, key))
