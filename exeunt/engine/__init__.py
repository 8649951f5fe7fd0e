"""The engine: decides what becomes true of a run. Pure: no I/O, no clock, no randomness."""
