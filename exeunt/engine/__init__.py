"""The engine: decides what becomes true of a run. Pure: no I/O, no clock, no randomness.

A **run** is a workflow (a main run), or one exit handler or hook of it (an exit run). What is true of it is the fold
of its **events**, and nothing else. `decide` takes one **input** (a step ended, a timer fired, somebody asked to stop
it) and answers with the events that follow from it. They are true of the run at once; the driver writes them to the
log as one **commit**, and whoever acts (dispatches a step, sets a timer, starts a handler) reads what to do off the
committed events. After a crash the same events are folded again, and `pending` says what should be in flight.

Theory of operation
-------------------

**A look** is one visit to a composite: a node that stands for others (Steps, StepGroup, DAG, TaskGroup, Retry). It
asks what can begin in it and whether it has ended, and emits events. A look holds nothing that counts: it can be made
again at any time, and finds what it found before. Argo's controller looks at the whole tree whenever a pod changes.
Here only what may have changed is looked at:

- **dirty**: composites that are to be looked at, in the order of a walk of the tree, the inner ones first. An end
  makes its owner dirty. A decision goes on until nothing is dirty and a look at the workflow itself changes nothing.
- **changed**: the members of a composite that changed since its last look, so that a look at a loop of ten thousand
  items costs what changed and not what there is.
- **fresh**: nothing is known of what was looked at (after a restart, or when a decision was left half-way). Then
  everything is dirty once, and `changes` answers None: look at all members.
- **held**: composites that wait because a hook runs beside them. When any hook ends they are dirty again.
- **blocked**: composites that met a limit (`parallelism`). Each decision looks at them again.
- **put off**: composites that were dirty while something that stands before them in the tree, as Argo walks it, was
  dirty too. That one goes first, once.
- **stopping**: a stop looks at everything once, in the order in which it found it, before what had ended earlier is
  looked at again.

Looks are generators. Where a look begins a composite it yields it, and the walk goes there before it goes on: so the
tree grows in Argo's order, and trees of any depth need no recursion.

**Order.** Inputs may come in any order, more than once, and late. Which comes first may decide what begins next, as
it does in Argo, but not what is promised: an end is an end, an attempt has one result, and a handler that is due runs
once. Where the order of looks shows (which of two steps gets the last place, what a stop finds begun) it is the order
in which Argo walks the tree (docs/decisions/0017). Elsewhere it shows nowhere: looks at two composites that hold none
of each other read and change different nodes.

**A decision has a share** (`facts.turn`). What is left when it is used up is decided by the next one (`MoreToDecide`,
`GoOn`); inputs that come meanwhile are only taken in.

**What ends before what it holds** (steps under failFast, a DAG after a stop) is left to end: nothing begins in it but
exit handlers (`walk.left_inside`, docs/decisions/0012). Before a run closes, `walk.promise` looks once for what began
and has neither its handler nor a record that says why not.

Rooms
-----

Each imports only those above it here.

- `facts`: what is true. Events, the state, the fold that makes an event true. Nothing is decided.
- `values`: what texts and templates come to. Scopes, templating, loops, outputs, `workflow.failures`. Reads facts.
- `shown`: what others see of a run. Argo's `status.nodes`, the public events. Reads facts and values, emits nothing.
- `walk`: what comes next. Begins, looks at and ends nodes, hooks and the run. Emits events.
- `commands`: what comes from outside. Takes inputs in and emits what they make true; the walk does the rest.
- `decide`: an input, then looks, until nothing moves.
"""
