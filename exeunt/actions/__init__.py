"""What an exit handler does to the world by itself: HTTP, notifications, clean-up, starting workflows, plugins.

`perform` takes a resolved piece of work and always answers an outcome. Executors use it for http and plugin steps of
main runs too.
"""

from exeunt.actions.context import ActionSettings, Context, StartedWorkflow, StartRefused, Toolbox, open_toolbox
from exeunt.actions.perform import can_perform, perform

__all__ = [
    "ActionSettings",
    "Context",
    "StartRefused",
    "StartedWorkflow",
    "Toolbox",
    "can_perform",
    "open_toolbox",
    "perform",
]
