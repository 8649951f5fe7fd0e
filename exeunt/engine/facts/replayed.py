"""What the replay of a handler changes of its workflow: the finalization and what is said of it, never a phase."""

from __future__ import annotations

from exeunt.engine.facts.state import Hook, State


def replayable(state: State, hook_id: str) -> Hook | None:
    """The hook of that id, when it has ended."""
    number = state.hook_numbers.get(hook_id)
    hook = None if number is None else state.hooks[number]
    return hook if hook is not None and hook.outcome is not None else None


def note_replay(state: State, hook_id: str, phase: str, message: str) -> bool:
    """The hook's replay ended so. Says whether that changes anything."""
    hook = replayable(state, hook_id)
    if hook is None or (hook.replayed, hook.replay_message) == (phase, message):
        return False
    hook.replayed, hook.replay_message = phase, message
    return True
