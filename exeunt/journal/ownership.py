"""Who is there and who should own which partition: members, presence, rendezvous hashing (docs/log.md §2).

Membership only keeps owners from fighting; that a former owner can write nothing is the fence's doing. Each process
puts its entry into a bucket in memory every 300 ms; the others hear it on the wire and judge by their own clocks. A
process that is gone from the server answers nobody on its presence subject, which the server says at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from exeunt.journal.streams import MEMBERS, ensure_stream, members_stream
from exeunt.journal.subjects import PARTITIONS, Role, check_token
from exeunt.journal.wire import Wire, wire_of
from exeunt.natspy import whole
from exeunt.service.program import ProgramError

log = logging.getLogger(__name__)

RENEW_SECONDS = 0.3
SUSPECT_SECONDS = 0.45
GONE_SECONDS = 1.0
STEADY_SECONDS = 2.0
TURN_SECONDS = 0.15

Confirm = Callable[[float], Awaitable[None]]


class ClusterMember(msgspec.Struct, frozen=True):
    """One process: `address` is where it takes calls, `formats` which commit formats it reads."""

    role: Role
    replica: str
    address: str = ""
    formats: tuple[int, ...] = (1,)


def owner_among(partition: int, replicas: list[str]) -> str | None:
    """Rendezvous hashing: the same for everyone who sees the same members; a change moves only what it has to."""
    if not replicas:
        return None
    return max(replicas, key=lambda r: hashlib.blake2b(f"{partition}/{r}".encode(), digest_size=8).digest())


class Membership:
    """This process among the others. `run()` keeps it there until cancelled; `leave()` hands over at once.

    confirm(sent): called after each renewal that was answered, with the time of the loop's clock at which it was sent.
    single: this role has one replica, so there is nobody to wait for.
    """

    def __init__(
        self, wire: Wire, me: ClusterMember, *, confirm: Confirm | None = None, single: bool = False, replicas: int = 1
    ) -> None:
        self.me = me
        self.ready = asyncio.Event()
        """Set once everyone who is there has had the time to say so."""
        self.on_change: list[Callable[[], None]] = []
        self._wire = wire
        self._replicas = replicas
        self._confirm = confirm
        self._single = single
        self._loop = asyncio.get_running_loop()
        self._members: dict[tuple[Role, str], ClusterMember] = {(me.role, me.replica): me}
        self._heard: dict[tuple[Role, str], float] = {}
        self._confirmed = float("-inf")
        self._began = self._loop.time()
        self._asking: set[tuple[Role, str]] = set()
        self._left = False
        if single:
            self.ready.set()

    @classmethod
    async def open(
        cls, nc: Client, me: ClusterMember, *, confirm: Confirm | None = None, single: bool = False, replicas: int = 1
    ) -> Membership:
        """Makes the bucket where it is missing. `replicas` is that of the streams."""
        check_token(me.replica)
        wire = await wire_of(nc)
        await ensure_stream(wire, members_stream(replicas))
        return cls(wire, me, confirm=confirm, single=single, replicas=replicas)

    def members(self, role: Role) -> list[ClusterMember]:
        """Who is there in that role, by name."""
        return sorted((m for m in self._members.values() if m.role == role), key=lambda m: m.replica)

    def owner_of(self, partition: int, role: Role) -> ClusterMember | None:
        """Who should own the partition; None when nobody is there, and in our own role before `ready`.

        In the other role whoever has been heard of will do: nobody takes anything for it, and one who is asked for what
        is another's says so.
        """
        if role == self.me.role and self._single:
            return None if self._left else self.me
        if role == self.me.role and not self.ready.is_set():
            return None
        name = owner_among(partition, [m.replica for m in self.members(role)])
        return self._members[role, name] if name is not None else None

    def mine(self) -> set[int]:
        """The partitions that this process should own."""
        return {p for p in range(PARTITIONS) if self.owner_of(p, self.me.role) == self.me}

    async def run(self) -> None:
        """Renews the entry, listens to the others and judges them."""
        nc = self._wire.nc
        subscriptions = [
            await whole(nc.subscribe(f"$KV.{MEMBERS}.member.>", cb=self._told)),
            await whole(nc.subscribe(presence(self.me.role, self.me.replica), cb=_here)),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew())
                group.create_task(self._judge(group))
        finally:
            for subscription in subscriptions:
                with suppress(NatsError):
                    await whole(subscription.unsubscribe())

    async def leave(self) -> None:
        """Takes the entry out: the others take over at once. To be called last, when everything is handed back."""
        self._left = True
        self._members.pop((self.me.role, self.me.replica), None)
        await self._wire.ask(_entry(self.me), b"KV-Operation: DEL\r\n", b"", GONE_SECONDS)

    # --- staying ------------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        data = msgspec.json.encode(self.me)
        made_on = -1.0
        while not self._left:
            await self._wire.connected.wait()
            if made_on != self._wire.connected_since:  # the bucket lives in memory: it goes with the server
                made_on = self._wire.connected_since
                await self._make_bucket()
            sent = self._loop.time()
            answer = await self._wire.ask(_entry(self.me), b"", data, GONE_SECONDS)
            if answer is not None and not answer.code:
                self._confirmed = sent
                if self._confirm is not None and not self._left:
                    await self._confirm(sent)
            else:
                made_on = -1.0
            await asyncio.sleep(max(0.01, sent + RENEW_SECONDS - self._loop.time()))

    async def _make_bucket(self) -> None:
        try:
            await ensure_stream(self._wire, members_stream(self._replicas))
        except ProgramError as error:
            log.warning("%s", error)

    # --- the others ---------------------------------------------------------------------------------------------------

    async def _told(self, message: Msg) -> None:
        if (message.headers or {}).get("KV-Operation"):
            role, replica = message.subject.split(".")[-2:]
            self._drop(("x" if role == "x" else "m", replica), "has left")
            return
        try:
            member = msgspec.json.decode(message.data, type=ClusterMember)
        except msgspec.DecodeError:
            return
        key = (member.role, member.replica)
        self._heard[key] = self._loop.time()
        if key != (self.me.role, self.me.replica) and self._members.get(key) != member:
            self._members[key] = member
            log.info("%s %s is there", _what(key), key[1])
            self._changed()

    async def _judge(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(TURN_SECONDS)
            now = self._loop.time()
            if not self.ready.is_set() and now - self._began >= GONE_SECONDS and now - self._confirmed < GONE_SECONDS:
                self.ready.set()
                self._changed()
            if not self._can_judge(now):
                continue
            for key in [k for k in self._members if k != (self.me.role, self.me.replica)]:
                silent = now - self._heard[key]
                if silent >= GONE_SECONDS:
                    self._drop(key, f"was silent for {silent:.1f} s")
                elif silent >= SUSPECT_SECONDS and key not in self._asking:
                    self._asking.add(key)
                    group.create_task(self._ask(key))

    def _can_judge(self, now: float) -> bool:
        """Others are missing only when we ourselves are heard, and have been connected for a while."""
        wire = self._wire
        return (
            wire.connected.is_set()
            and now - wire.connected_since >= STEADY_SECONDS
            and now - self._confirmed < GONE_SECONDS
        )

    async def _ask(self, key: tuple[Role, str]) -> None:
        """Whether a silent member is still connected: the server says at once when nobody listens there."""
        try:
            await whole(self._wire.nc.request(presence(*key), b"", timeout=GONE_SECONDS))
        except NoRespondersError:
            if self._can_judge(self._loop.time()) and self._loop.time() - self._heard[key] >= SUSPECT_SECONDS:
                self._drop(key, "is gone")
        except (NatsError, KeyError, OSError):
            pass  # silence decides
        finally:
            self._asking.discard(key)

    def _drop(self, key: tuple[Role, str], why: str) -> None:
        if key == (self.me.role, self.me.replica) or self._members.pop(key, None) is None:
            return
        log.warning("%s %s %s", _what(key), key[1], why)
        self._changed()

    def _changed(self) -> None:
        for told in list(self.on_change):
            told()


async def _here(message: Msg) -> None:
    await message.respond(b"")


def _entry(member: ClusterMember) -> str:
    return f"$KV.{MEMBERS}.member.{member.role}.{member.replica}"


def presence(role: str, replica: str) -> str:
    """The subject on which a member answers for as long as it is connected."""
    return f"x.alive.{role}.{replica}"


def _what(key: tuple[Role, str]) -> str:
    return "scheduler" if key[0] == "m" else "exit handler"
