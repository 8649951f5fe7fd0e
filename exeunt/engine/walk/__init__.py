"""What comes next in a run: a look at each kind of composite, at hooks, and at the run as a whole.

`looks` goes through what has changed until nothing moves. `start` begins a node. `steps`, `dag` (with `dag_frame`,
`dag_items`, `dag_verdict`) and `retry` look at composites, `hooks` at what is due when a node runs or ends,
`workflow` at the run. `parallelism` has the limits, `left_inside` what remains in what ended before its members,
`promise` the last look before a run closes; `walking` says what looks are.
"""

from __future__ import annotations

from exeunt.engine.walk import start

__all__ = [
    "start",
]
