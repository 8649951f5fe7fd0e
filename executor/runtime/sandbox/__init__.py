"""The sandbox runtime: a step has a root of its own, over that of the machine, and sees no other process.

It asks the kernel itself, so that it works with Python alone (docs/decisions/0025). A zygote (`zygote`) forks the first
process of each step, which builds its root by a plan (`plan`, `inside`); all else is done by the executor (`runtime`,
`helper`, `files`, `cgroups`). `bench/sandbox.py` compares what steps cost.
"""
