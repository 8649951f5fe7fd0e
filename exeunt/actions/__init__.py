"""Work that needs no container: HTTP requests, notifications, clean-up, starting workflows, plugins.

`perform` takes a resolved piece of work and always answers an outcome. Exit handlers use it for their own steps, and
executors for those of workflows.
"""

from exeunt.actions.context import ActionSettings, Context, StartedWorkflow, StartRefused, Toolbox, open_toolbox
from exeunt.actions.done_here import can_perform, perform

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
