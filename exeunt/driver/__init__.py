"""A run between the engine and the log: what comes in is decided, written, and only then acted on.

`driver` is the loop around one run, `in_flight` what of it is under way, `ports` what it needs of the world, and
`turns` how the runs of a service share its event loop.
"""
