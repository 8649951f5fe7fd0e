"""The runtimes by name. A new one is a module here with its own `open_runtime`, and a line in this table.

Its name is also what an executor says to schedulers: the row of containers in `exeunt.wire_work` has to list it.
"""

from __future__ import annotations

from exeunt.executor.runtime import process
from exeunt.executor.runtime.base import OpenRuntime
from exeunt.executor.runtime.sandbox import runtime as sandbox

RUNTIMES: dict[str, OpenRuntime] = {
    "process": process.open_runtime,
    "sandbox": sandbox.open_runtime,
}
