"""Everything that can go wrong around the services, chosen by the seed: kills, pauses, cuts, lost answers."""

from __future__ import annotations

import random
from collections.abc import Callable

from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.scheduler.runs import Runs
from tests.simulation.nats import WORLD
from tests.simulation.services import SERVICES, Service, World

Weights = dict[str, int]
WEIGHTS: Weights = {
    "kill": 10,
    "pause": 6,
    "disconnect": 5,
    "break a stream": 6,
    "stop": 3,
    "clock": 2,
    "snapshot": 4,
    "loss": 5,
    "slow": 4,
    "power": 1,
}


class Cluster:
    """The services that run, and what happens to them."""

    def __init__(self, world: World, rng: random.Random, schedulers: int, exit_handlers: int, executors: int) -> None:
        self.world = world
        self.rng = rng
        self.calm = False
        self.services: dict[str, Service] = {}
        self._roles: dict[str, str] = {}
        for role, count in (("m", schedulers), ("x", exit_handlers), ("e", executors)):
            for i in range(1, count + 1):
                self._roles[f"{role}{i}"] = role
        world.addresses = [n for n, r in self._roles.items() if r == "m"]
        for name in self._roles:
            self.begin(name)

    def begin(self, name: str) -> None:
        """Starts the service, unless it runs."""
        running = self.services.get(name)
        if running is not None and running.process.alive:
            return
        service = self.services[name] = SERVICES[self._roles[name]](self.world, name)
        service.process.on_fuse = lambda process: self._killed(service)
        self.world.watch.say(f"{name} begins")
        service.start()

    def of_role(self, role: str) -> list[Service]:
        return [s for n, s in self.services.items() if self._roles[n] == role and s.process.alive]

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self.world.loop.call_later(seconds, work, context=WORLD)

    # --- faults -------------------------------------------------------------------------------------------------------

    def trouble(self, seconds: float) -> None:
        """Faults until then."""
        at = 0.0
        while True:
            at += self.rng.expovariate(1.0) * self.rng.choice([0.1, 0.5, 2.0])
            if at >= seconds:
                return
            self.later(at, self._fault)

    def _fault(self) -> None:
        rng = self.rng
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        name = rng.choice(list(self._roles))
        service = self.services[name]
        long = rng.uniform(0.05, 1.0) * rng.choice([0.2, 1.0, 4.0])
        self.world.watch.say(f"fault: {kind} {name} {long:.2f}")
        match kind:
            case "kill":
                if service.process.alive and not service.process.paused:
                    service.process.fuse = rng.randint(0, 80)
            case "pause":
                if not service.process.paused and service.process.alive:
                    service.process.paused = True
                    self.later(long, lambda: self._go_on(service))
            case "disconnect":
                service.link.cut()
                self.later(long, service.link.mend)
            case "break a stream":
                if self.world.network.calls:
                    rng.choice(self.world.network.calls).break_()
            case "stop":
                service.stop()
                self.later(6.0, lambda: self._stopped(service))
            case "clock":
                service.process.wall_offset += rng.choice([-3600.0, -10.0, 10.0, 3600.0])
            case "snapshot":
                self._snapshots()
            case "loss":
                self.world.server.loss = self.world.network.doubled = 0.15
                self.later(long, self._sound)
            case "slow":
                self.world.server.slow = 0.6
                for _ in range(4):  # so that results come while a snapshot is on its way
                    self.later(rng.uniform(0.0, long + 1.0), self._snapshots)
                self.later(long + 1.0, self._sound)
            case "power":
                for one in list(self.services.values()):
                    self._killed(one)

    def _killed(self, service: Service) -> None:
        self.world.watch.say(f"{service.name} is killed")
        service.kill()
        self.later(self.rng.uniform(0.05, 2.5), lambda: self.begin(service.name))

    def _stopped(self, service: Service) -> None:
        if self.services.get(service.name) is service:
            service.kill()
            self.begin(service.name)

    def _go_on(self, service: Service) -> None:
        if service.process.paused:
            self.world.watch.say(f"{service.name} goes on")
            self.world.loop.go_on(service.process)

    def _snapshots(self) -> None:
        for service in [*self.of_role("m"), *self.of_role("x")]:
            if not service.started or service.process.paused:
                continue
            runs = getattr(getattr(service, "parts", None), "runs", None)
            if isinstance(runs, ExitRuns):
                families, ask = [r.family for r in runs.runs.values()], runs.snapshot
            elif isinstance(runs, Runs):
                families, ask = [e.driver.family for e in runs.by_uid.values()], runs.snapshot
            else:
                continue
            if families:
                self.world.loop.call_soon(ask, families, context=service.process.context)

    def _sound(self) -> None:
        self.world.server.loss = self.world.server.slow = self.world.network.doubled = 0.0

    def heal(self) -> None:
        """No more faults: everything runs, is connected and goes on."""
        self.world.watch.say("no more faults")
        self._sound()
        for service in list(self.services.values()):
            service.process.fuse = -1
            self._go_on(service)
            service.link.mend()
            self.begin(service.name)
