"""One attempt of one step on this executor, from its dispatch until its result is acknowledged.

What it has to say goes out by way of a `SchedulerLink`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.executor.limits import OutputLimits, bound
from exeunt.executor.logs import Output
from exeunt.executor.runtime.base import RunningProgram
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.slots import Pool
from exeunt.internal.v1 import executor_service_pb2 as session_pb
from exeunt.internal.v1 import step_pb2 as pb

FIRST_PATIENCE = 2.0
"""Seconds to wait for an acknowledgement before a result is told to every scheduler, then twice as long, and so on."""


class SchedulerLink(Protocol):
    """The way to one scheduler, as attempts know it.

    `replica` is the scheduler's name, `address` where the link leads, `advertised` where the scheduler says that it is
    to be reached, and `peers` are the addresses of the others that it knows.
    """

    replica: str
    address: str
    advertised: str
    peers: tuple[str, ...]
    connected: bool

    def wake(self) -> None:
        """There may be something to say: what is lent, at least."""

    def has_output(self, attempt: LocalAttempt) -> None:
        """The attempt has output that was not sent yet."""

    def has_news(self, attempt: LocalAttempt) -> None:
        """The attempt is a daemon, and ready; or it has come further."""

    def has_ended(self, attempt: LocalAttempt) -> None:
        """The attempt's result is to be told, behind its output."""


class LocalAttempt:
    """What is known of an attempt. It waits until `pool` is set, runs until `update` is, and is then reported.

    `scheduler` is the replica that asked for it last, `link` the way to it, None when it is from an earlier life.
    """

    __slots__ = (
        "announced",
        "begun",
        "cancelled",
        "exit",
        "forgotten",
        "hungry",
        "id",
        "link",
        "lost",
        "output",
        "partition",
        "patience",
        "pool",
        "progress",
        "ready",
        "running",
        "scheduler",
        "secrets",
        "started",
        "step",
        "task",
        "timed_out",
        "timer",
        "update",
    )

    def __init__(self, id: str, partition: int, link: SchedulerLink | None = None, step: pb.Step | None = None) -> None:
        self.id = id
        self.partition = partition
        self.link = link
        self.scheduler = link.replica if link is not None else ""
        self.step = step
        self.exit = step.exit if step is not None else False
        self.output: Output | None = None
        self.secrets: StepSecrets | None = None  # from its start on, until it has ended
        self.begun = False  # its task has had its first turn: from there on it can be cancelled
        self.pool: Pool | None = None
        self.running: RunningProgram | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.started = 0.0
        self.ready = ""  # of a daemon that is: where it is reached
        self.progress = ""  # how far it says that it has come
        self.timed_out = False
        self.hungry = ""  # that it took too much memory, and how much
        self.cancelled = False  # somebody asked for its end
        self.forgotten = False  # its result is wanted by nobody
        self.lost = ""  # why it ended with the executor and not by itself
        self.update: session_pb.AttemptUpdate | None = None
        self.announced = 0.0  # when its result was last sent to everyone, on the loop's clock
        self.patience = FIRST_PATIENCE  # how long to wait for an acknowledgement before it is sent to everyone again

    @property
    def heard(self) -> bool:
        """Whether a scheduler is there that takes its output."""
        return self.link is not None and self.link.connected

    def time_out(self) -> None:
        """It took longer than it may."""
        self.timed_out = True
        if self.running is not None and self.step is not None:
            self.running.end(self.step.grace_seconds)

    def conclude(self, result: pb.StepResult, limits: OutputLimits) -> session_pb.AttemptUpdate:
        """The result is known: adds times, last lines and standard output, bounds it, and keeps it for the report."""
        now = time.time()
        started = self.started or now
        if not result.HasField("start_time"):
            result.start_time.CopyFrom(timestamp(started))
            result.finish_time.CopyFrom(timestamp(max(started, now)))
        if self.output is not None:
            self.output.end()
            result.log_tail.extend(self.output.tail())
            text = self.output.result()
            if text is not None and result.HasField("exit_code"):
                result.result = text
        if self.lost and result.phase != "Succeeded":
            result.phase, result.message = "Error", self.lost
        bound(result, limits)
        self.secrets = None
        self.update = session_pb.AttemptUpdate(
            id=self.id, partition=self.partition, result=result, lost=result.message == self.lost != ""
        )
        return self.update


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a message, to the microsecond."""
    micros = int(seconds * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
