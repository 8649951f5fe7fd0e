"""The log protocol of docs/log.md as a small model, explored in every order: log_model.py [LENGTH [MUTATION...]]

One workflow with one exit handler; two schedulers and two exit handlers at once, each of which may crash, take over
from the other, or go on as a zombie that still believes it owns the partition; snapshots, renewed fences, marks and
cuts at any moment. Checked in every reachable state: the handler becomes due once, its run is created once, its result
is folded once, the workflow closes only after it, and the end can still be reached by work alone, without waiting for
housekeeping (nothing lost, nobody stuck). A mutation leaves out one rule, to show that the model notices. LENGTH bounds
the visible log (5 takes seconds, 6 minutes); positions are relative to the cut, so that any number of cuts is explored.
Explored apart, with one process a role:
- lost answers, in a log longer by one: a commit may get no answer, be written later or never,
  and is settled as docs/log.md says. (A message that comes late is all that a zombie can do.)
- cancellation, in a log longer by one: the handler waits for ever and is taken back; it ends only by that.
- replay: a closed exit run runs once more, before or after its workflow has closed, and that too comes to an end.
- messages between partitions: the handler asks for the start of a child workflow, again after every take-over; the
  child begins once and ends.
"""

import sys
from collections import deque
from typing import NamedTuple

MUTATIONS = {
    "unfenced": "commits do not name the fence",
    "unconditional-renewal": "a fence is renewed without naming the old one",
    "snapshot-obligations": "exit handlers also take up obligations that they meet in a snapshot",
    "mark-ignores-results": "the scheduler's mark passes results that it has not folded",
    "mark-ignores-obligations": "the exit handler's mark passes obligations that it has not taken up",
    "mark-ignores-runs": "marks pass what open runs need",
}
CANCEL, REPLAY, MESSAGE = "cancellation", "replay", "messages"
MORE = {
    "mark-ignores-cancels": (CANCEL, "the exit handler's mark passes a cancellation that it has not taken up"),
    "snapshot-forgets-cancels": (CANCEL, "a snapshot of an exit run does not say that it was cancelled"),
    "replay-continues": (REPLAY, "a replay goes on behind the closing commit instead of beginning with a snapshot"),
    "replay-is-folded": (REPLAY, "the scheduler folds the result of a replay as it does the first one"),
    "mark-ignores-messages": (MESSAGE, "the scheduler's mark passes a message that it has not acted on"),
    "archive-is-not-asked": (MESSAGE, "a repeated start is known only by the runs in the log"),
    "mark-passes-unarchived": (MESSAGE, "the scheduler's mark passes a closed run whose archive record is not out"),
}
# an unanswered commit is sent again without renewing the fence first: goes wrong only in a log of eleven, along PATH
RESEND = "resend-under-old-fence"
PATH = [
    "S takes over",
    "S: main ends, handler due (no answer)",
    "m sends due again",
    "E takes over",
    "E creates the exit run",
    "E closes the exit run",
    "S folds the result",
    "S writes a snapshot",
    "the late due is written",
    "S renews its fence",
    "E renews its fence",
    "S marks",
    "E marks",
    "cut",
    "E takes over",
    "E creates the exit run",
]
GONE = -1


class Proc(NamedTuple):
    fence: int = 0  # position of its fence; 0: never an owner; GONE: cut away
    hook: str = ""  # scheduler: "", due, taken-back, done · exit handler: "", run, asked, cancelled, again, closed
    needed: int = 0  # oldest message that its open run needs; 0: none
    child: str = ""  # scheduler: of the started child "", run, done
    child_needed: int = 0  # oldest message that the child needs; 0: none
    wait: str = ""  # a commit without an answer
    renewed: bool = False  # the fence has been renewed since


class State(NamedTuple):
    log: tuple  # kinds of the visible: Fm Fx start due cancel snap[-HOOK] res close xc xs[-HOOK] xk xp xr ask cb ce
    sched: tuple
    exits: tuple
    marks: tuple  # positions announced by a scheduler and by an exit handler; 1: nothing may be cut
    history: (
        tuple  # times due, created, closed by E, closed by S, folded, replayed, asked, begun, child closed, archived
    )
    late: tuple = ()  # a message on its way whose sender waits no more: (role, fence, kind, is it a repeat)


def shift(p, k):
    def move(x):
        return x - k if x > k else (GONE if x else 0)

    return p._replace(fence=move(p.fence), needed=move(p.needed), child_needed=move(p.child_needed))


def last_fence(s, role):
    return max((q for q, k in enumerate(s.log, 1) if k == "F" + role), default=0)


def load_scheduler(log, f, archived=False):
    hook, needed, child, child_needed = "", 0, "", 0
    for q, k in enumerate(log[:f], 1):
        if k == "start":
            needed = q
        if k.startswith("snap"):
            needed, hook = q, k[5:]
        if k == "due" and not hook:
            hook = "due"  # the fold ignores what it has seen
        if k == "cancel" and hook == "due":
            hook = "taken-back"
        if k == "res":
            hook = "done"
        if k == "close":
            needed = 0
        if k == "cb":
            child, child_needed = "run", q
        if k == "ce":
            child, child_needed = "done", 0 if archived else child_needed
    return Proc(f, hook, needed, child, child_needed)


def load_exits(log, f, m=None):
    hook, needed = "", 0
    for q, k in enumerate(log[:f], 1):
        if k == "xc" and not hook:
            hook, needed = "run", q
        if k.startswith("xs") and hook != "closed":
            hook, needed = k[3:] or "run", q
        if k == "xk":
            hook = "cancelled"
        if k == "xp" and (m != "replay-continues" or hook == "closed"):
            hook, needed = "again", 0 if m == "replay-continues" else q
        if k == "xr":
            hook, needed = "closed", 0
    return Proc(f, hook, needed)


COUNT = {"due": 0, "xc": 1, "xr": 2, "close": 3, "res": 4, "xp": 5, "ask": 6, "cb": 7, "ce": 8, "archive": 9}
NEVER = (0,) * len(COUNT)


def steps(s, m, length, lost=False, more=""):
    """Every state that one step leads to: (name, is it work rather than housekeeping, state)."""

    def may(role, p):
        return p.fence > 0 and (m == "unfenced" or last_fence(s, role) == p.fence)

    def put(where, i, p, **kw):
        procs = getattr(s, where)
        return s._replace(**{where: tuple(sorted((*procs[:i], p, *procs[i + 1 :])))}, **kw)

    def grown(kind):
        return (*s.log, kind)

    def counted(kind):
        return tuple(min(2, v + (j == COUNT.get(kind))) for j, v in enumerate(s.history))

    def mark_of(role, p, late):
        if not may(role, p):
            late = [*late, max(p.fence, 1)]  # a zombie has read no further than it could
        return min(
            [
                len(s.log) + 1,
                *late,
                *([p.fence] if p.fence > 0 else [1]),
                *([p.needed] if p.needed and m != "mark-ignores-runs" else []),
                *([p.child_needed] if p.child_needed else []),
            ]
        )

    def after(p, kind, q):
        now = {
            "due": {"hook": "due"},
            "res": {"hook": "done"},
            "close": {"needed": 0},
            "cancel": {"hook": "taken-back"},
            "cb": {"child": "run", "child_needed": q},
            "ce": {"child": "done", "child_needed": 0 if m == "mark-passes-unarchived" else p.child_needed},
            "xc": {"hook": "run", "needed": q},
            "ask": {"hook": "asked"},
            "xk": {"hook": "cancelled"},
            "xp": {"hook": "again", "needed": 0 if m == "replay-continues" else q},
            "xr": {"hook": "closed", "needed": 0},
        }
        return p._replace(wait="", renewed=False, **now[kind])

    def commit(where, i, p, role, kind, *, name):
        yield name, True, put(where, i, after(p, kind, here), log=grown(kind), history=counted(kind))
        if lost and not s.late:
            yield name + " (no answer)", False, put(where, i, p._replace(wait=kind), late=(role, p.fence, kind, False))

    def settle(where, i, p, role):
        if not p.renewed and m != RESEND:
            if room and may(role, p):
                yield (
                    f"{role} renews its fence to settle {p.wait}",
                    True,
                    put(where, i, p._replace(fence=here, renewed=True), log=grown("F" + role)),
                )
        elif p.wait in s.log:
            yield f"{role} finds its {p.wait}", True, put(where, i, after(p, p.wait, s.log.index(p.wait) + 1))
        elif may(role, p):
            yield (
                f"{role} sends {p.wait} again",
                True,
                put(
                    where,
                    i,
                    after(p, p.wait, here),
                    log=grown(p.wait),
                    history=counted(p.wait),
                    late=s.late and (*s.late[:3], True),
                ),
            )

    room, here = len(s.log) < length, len(s.log) + 1
    archived = s.history[COUNT["archive"]]

    if s.late:
        role, fence, kind, repeat = s.late
        yield f"the late {kind} is lost", False, s._replace(late=())
        if room and fence == last_fence(s, role):
            yield (
                f"the late {kind} is written",
                False,
                s._replace(late=(), log=grown(kind), history=s.history if repeat else counted(kind)),
            )

    for i, p in enumerate(s.sched):
        if room:
            yield "S takes over", True, put("sched", i, load_scheduler(grown("Fm"), here, archived), log=grown("Fm"))
        if not p.fence:
            continue
        if p.wait:
            yield from settle("sched", i, p, "m")
            continue
        if room and (may("m", p) or m == "unconditional-renewal"):
            yield "S renews its fence", False, put("sched", i, p._replace(fence=here), log=grown("Fm"))
        results = [q for q, k in enumerate(s.log, 1) if k == "xr"]
        waits = p.hook in ("due", "taken-back") or (m == "replay-is-folded" and s.history[COUNT["xp"]])
        known = p.child or (archived and m != "archive-is-not-asked")
        asked = [] if known else [q for q, k in enumerate(s.log, 1) if k == "ask"]
        open_ends = results[:1] if waits and m != "mark-ignores-results" else []
        open_ends += asked[:1] if m != "mark-ignores-messages" else []
        mark = mark_of("m", p, open_ends)
        if mark > s.marks[0]:
            yield f"S marks {mark}", False, s._replace(marks=(mark, s.marks[1]))
        if not may("m", p):
            continue
        if asked:
            yield from commit("sched", i, p, "m", "cb", name="S begins the child")
        if p.child == "run":
            yield from commit("sched", i, p, "m", "ce", name="S closes the child")
        if p.child == "done" and not archived:
            done = p._replace(child_needed=0)
            yield "S archives the child", True, put("sched", i, done, history=counted("archive"))
        if p.needed <= 0:
            continue
        if p.hook == "":
            yield from commit("sched", i, p, "m", "due", name="S: main ends, handler due")
        if p.hook == "due" and more == CANCEL:
            yield from commit("sched", i, p, "m", "cancel", name="S takes the handler back")
        if waits and results:
            yield from commit("sched", i, p, "m", "res", name="S folds the result")
        if p.hook == "done":
            yield from commit("sched", i, p, "m", "close", name="S closes")
        if room:
            yield (
                "S writes a snapshot",
                False,
                put("sched", i, p._replace(needed=here), log=grown("snap" + (p.hook and "-" + p.hook))),
            )

    for i, p in enumerate(s.exits):
        if room:
            yield "E takes over", True, put("exits", i, load_exits(grown("Fx"), here, m), log=grown("Fx"))
        if not p.fence:
            continue
        if p.wait:
            yield from settle("exits", i, p, "x")
            continue
        if room and (may("x", p) or m == "unconditional-renewal"):
            yield "E renews its fence", False, put("exits", i, p._replace(fence=here), log=grown("Fx"))
        kinds = ("due", "snap-due") if m == "snapshot-obligations" else ("due",)
        duties = [q for q, k in enumerate(s.log, 1) if k in kinds] if p.hook == "" else []
        cancels = [q for q, k in enumerate(s.log, 1) if k == "cancel"] if p.hook in ("", "run") else []
        open_ends = duties[:1] if m != "mark-ignores-obligations" else []
        open_ends += cancels[:1] if m != "mark-ignores-cancels" else []
        mark = mark_of("x", p, open_ends)
        if mark > s.marks[1]:
            yield f"E marks {mark}", False, s._replace(marks=(s.marks[0], mark))
        if not may("x", p):
            continue
        if duties:
            yield from commit("exits", i, p, "x", "xc", name="E creates the exit run")
        if p.hook == "run" and cancels:
            yield from commit("exits", i, p, "x", "xk", name="E takes the cancellation up")
        if p.hook == "run" and more == MESSAGE:
            yield from commit("exits", i, p, "x", "ask", name="E asks for the child")
        if p.hook == {CANCEL: "cancelled", MESSAGE: "asked"}.get(more, "run") or p.hook == "again":
            yield from commit("exits", i, p, "x", "xr", name="E closes the exit run")
        closed = s.history[COUNT["xr"]] and p.hook in (
            "",
            "closed",
        )  # the ledger says so when the log does not any more
        if more == REPLAY and closed and not s.history[COUNT["xp"]]:
            yield from commit("exits", i, p, "x", "xp", name="E replays the exit run")
        if p.hook in ("run", "asked", "cancelled", "again") and room:
            told = p.hook if p.hook == "again" or (p.hook == "cancelled" and m != "snapshot-forgets-cancels") else ""
            kind = f"xs-{told}" if told else "xs"
            yield "E writes a snapshot", False, put("exits", i, p._replace(needed=here), log=grown(kind))

    k = min(s.marks) - 1
    if k > 0:
        yield (
            f"cut {k}",
            False,
            State(
                s.log[k:],
                tuple(sorted(shift(p, k) for p in s.sched)),
                tuple(sorted(shift(p, k) for p in s.exits)),
                tuple(x - k for x in s.marks),
                s.history,
                s.late and (s.late[0], s.late[1] - k if s.late[1] > k else GONE, *s.late[2:]),
            ),
        )


def wrong(s):
    due, created, results, closed, folded, _, _, begun, _, _ = s.history
    if due > 1:
        return "the handler becomes due twice"
    if created > 1:
        return "the handler's run is created twice"
    if closed and not results:
        return "the workflow closes without its handler"
    if folded > 1:
        return "the result is folded twice"
    if begun > 1:
        return "the child begins twice"
    return None


def over(s, more):
    """Whether everything has come to its end: nothing more can go wrong."""
    _, _, results, closed, _, replayed, _, _, child, archived = s.history
    wanted = {REPLAY: closed and replayed and results == 2, MESSAGE: results and child and archived}
    return wanted.get(more, closed)


def explore(m=None, length=5, lost=False, more="", alone=False):
    """(states, what is wrong or None, the steps that lead there)"""
    procs = (Proc(),) * (1 if lost or alone else 2)
    first = State(("start",), procs, procs, (1, 1), NEVER)
    if more == MESSAGE:  # of the main run nothing but its handler matters then
        first = first._replace(log=("xc",), history=(1, 1, *NEVER[2:]))
    number, parent, back, queue, ends = {first: 0}, [(-1, "")], [[]], deque([first]), []
    while queue:
        s = queue.popleft()
        a = number[s]
        if over(s, more):
            ends.append(a)
            continue
        for name, work, t in steps(s, m, length, lost, more):
            b = number.get(t)
            if b is None:
                b = number[t] = len(parent)
                parent.append((a, name))
                back.append([])
                queue.append(t)
                if bad := wrong(t):
                    return len(parent), bad, path(parent, b)
            if work:
                back[b].append(a)
    reach, todo = set(ends), deque(ends)
    while todo:
        for a in back[todo.popleft()]:
            if a not in reach:
                reach.add(a)
                todo.append(a)
    # a full log is the bound of the model; each role needs room for a fence to go on
    stuck = next((b for s, b in number.items() if b not in reach and len(s.log) <= length - 2), None)
    return (
        len(parent),
        None if stuck is None else "the end can no longer be reached by work alone",
        [] if stuck is None else path(parent, stuck),
    )


def follow(m, names, length=16):
    """Goes one path by the names of its steps; says where it ends."""
    s = State(("start",), (Proc(),), (Proc(),), (1, 1), NEVER)
    for name in names:
        offered = [
            t
            for n, _, t in steps(s, m, length, lost=True)
            if n == name or (name in ("S marks", "E marks", "cut") and n.startswith(name))
        ]
        if not offered:
            return f"not possible: {name}"
        s = offered[-1]
        if bad := wrong(s):
            return bad
    return "nothing wrong"


def path(parent, b):
    out = []
    while b > 0:
        b, name = parent[b]
        out.append(name)
    return out[::-1]


if __name__ == "__main__":
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for m in sys.argv[2:] or ["protocol", *MUTATIONS, "lost answers", CANCEL, REPLAY, MESSAGE, *MORE]:
        mutation, lost = (m if m in MUTATIONS or m in MORE else None), m == "lost answers"
        more = MORE[m][0] if m in MORE else m if m in (CANCEL, REPLAY, MESSAGE) else ""
        n, bad, how = explore(mutation, length + (lost or more == CANCEL), lost, more, bool(more))
        print(f"{m}: {n} states, {bad or 'nothing wrong'}", flush=True)
        if bad:
            print("   ", " → ".join(how), flush=True)
    settled = [*PATH[:2], "m renews its fence to settle due", *PATH[2:]]
    print(f"{RESEND}, along one path: {follow(RESEND, PATH)}; the protocol along it: {follow(None, settled)}")
