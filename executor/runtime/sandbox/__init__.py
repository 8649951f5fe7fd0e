"""The sandbox runtime: a step has a root of its own, over that of the machine, and sees no other process.

It asks the kernel itself, so that it works with Python alone. A zygote (`zygote`) forks the first process of each step,
that builds its root by a plan (`plan`, `inside`); what is left
is the executor's (`runtime`, `helper`, `files`, `cgroups`).
bubblewrap 0.8 has no overlays and crun needs a bundle and 12 ms a step; `bench/sandbox.py` compares what steps cost.
"""
