"""The scheduler: owns main runs, dispatches their steps to executors, serves the public API."""
