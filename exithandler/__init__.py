"""The exit handler: follows obligations in the log and owns every exit run."""
