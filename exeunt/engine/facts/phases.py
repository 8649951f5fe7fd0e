"""Phases: what a phase counts as. Which may follow which stands in `transitions`.

A node is born Pending (work that waits for a place), Running (composites, suspend nodes) or already ended (Skipped,
Omitted, Error). It ends once: an ended node keeps its phase for ever; the result of a killed step changes its message
and outputs only.

*Fulfilled* is everything that others need not wait for any more; *completed* leaves out what never ran (Skipped,
Omitted), since only a completed node runs its exit handler (Argo: NodePhase in workflow_types.go).
"""

from __future__ import annotations

PENDING = "Pending"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
SKIPPED = "Skipped"
FAILED = "Failed"
ERROR = "Error"
OMITTED = "Omitted"
COMPLETED = frozenset({SUCCEEDED, FAILED, ERROR})
FULFILLED = COMPLETED | {SKIPPED, OMITTED}
BAD = frozenset({FAILED, ERROR})
EXIT = "exit"
"""The name of an exit handler's hook."""
ACTIVE = frozenset({PENDING, RUNNING})
WORKFLOW_STATUS = {
    PENDING: "Pending",
    RUNNING: "Running",
    SUCCEEDED: "Succeeded",
    SKIPPED: "Succeeded",
    OMITTED: "Succeeded",
    FAILED: "Failed",
    ERROR: "Error",
}
"""What `workflow.status` reads for a phase of the entrypoint's node."""
EXCEEDED = "Step exceeded its deadline"
"""The message of a node that a deadline ended. It stands whatever the killed step reports afterwards: that a signal
ended it would hide why. (A stop is told by `exit code 143`, as Argo tells it.)"""


# node types
POD = "Pod"
STEPS = "Steps"
STEP_GROUP = "StepGroup"
DAG = "DAG"
TASK_GROUP = "TaskGroup"
RETRY = "Retry"
SKIPPED_TYPE = "Skipped"
SUSPEND = "Suspend"
CONTAINER = "Container"
"""One of the containers of a containerSet: it stands in the pod that runs it, and ends with it."""
HTTP = "HTTP"
PLUGIN = "Plugin"
BOUNDARIES = frozenset({STEPS, DAG})
COMPOSITES = frozenset({STEPS, DAG, STEP_GROUP, TASK_GROUP, RETRY})
WORK = frozenset({POD, HTTP, PLUGIN})
"""Types whose nodes are run by somebody else."""
COUNTED = frozenset({POD, STEPS, DAG})
"""Types that a template's parallelism counts."""
PROGRESSING = frozenset({POD, CONTAINER, HTTP, PLUGIN, SUSPEND})
"""Types that the progress counts (Argo: workflow/progress)."""
