"""What texts and templates come to: variables in scope, templates with their inputs put in, loops laid out, outputs.

`scope` has the variables, `templating` puts them in, `processed` keeps a node's template with its inputs, `layout`
and `loops` say what a step or task comes to, `steps_layout` what a group of steps does, `graph` what depends on what,
`leaf` what is handed out for one that does work, `handlers` which hooks there are, `workflow_failures` and
`exeunt_variables` what handlers are told.
"""

from __future__ import annotations

from exeunt.engine.values import loops
from exeunt.engine.values.durations import seconds
from exeunt.engine.values.scope import rfc3339

__all__ = [
    "loops",
    "rfc3339",
    "seconds",
]
