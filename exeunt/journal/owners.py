"""Who owns which partition now, as membership says: where calls about a workflow go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from exeunt.journal.ownership import Membership
from exeunt.journal.subjects import Role


class Owners(Protocol):
    """Who owns partitions now."""

    on_members: list[Callable[[], None]]
    """Called when schedulers or exit handlers came or went."""

    def scheduler_of(self, partition: int) -> str | None:
        """The address of the scheduler; empty for this process, None while there is none."""

    def exit_handler_of(self, partition: int) -> str | None:
        """The address of the exit handler; empty for this process, None while there is none."""

    def schedulers(self) -> list[str]:
        """The addresses of all schedulers but this one."""


class MembershipOwners:
    """Owners as membership says (`Owners`); nobody, before there is one."""

    def __init__(self) -> None:
        self.on_members: list[Callable[[], None]] = []
        self._membership: Membership | None = None

    def join(self, membership: Membership) -> None:
        """From now on membership is known."""
        self._membership = membership
        membership.on_change.append(self._changed)

    def scheduler_of(self, partition: int) -> str | None:
        """The address of the scheduler; empty for this process, None while there is none."""
        return self._address("m", partition)

    def exit_handler_of(self, partition: int) -> str | None:
        """The address of the exit handler; empty for this process, None while there is none."""
        return self._address("x", partition)

    def schedulers(self) -> list[str]:
        """The addresses of all schedulers but this one."""
        membership = self._membership
        return [m.address for m in membership.members("m") if m != membership.me] if membership else []

    def _address(self, role: Role, partition: int) -> str | None:
        membership = self._membership
        member = membership.owner_of(partition, role) if membership else None
        if membership is None or member is None:
            return None
        return "" if member == membership.me else member.address

    def _changed(self) -> None:
        for told in self.on_members:
            told()


class FixedOwners:
    """Owners that never change (`Owners`): for tests and tools. This process has every partition of its own role."""

    def __init__(
        self, *, scheduler: Callable[[], str | None] = lambda: "", exit_handler: Callable[[], str | None] = lambda: None
    ) -> None:
        self.on_members: list[Callable[[], None]] = []
        self._scheduler = scheduler
        self._exit_handler = exit_handler

    def scheduler_of(self, partition: int) -> str | None:
        """The one scheduler, where there is one."""
        return self._scheduler()

    def exit_handler_of(self, partition: int) -> str | None:
        """The one exit handler, where there is one."""
        return self._exit_handler()

    def schedulers(self) -> list[str]:
        """No others."""
        return []
