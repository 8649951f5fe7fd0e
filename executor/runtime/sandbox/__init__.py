"""The sandbox runtime: a step has a root of its own, over that of the machine, and sees no other process."""
