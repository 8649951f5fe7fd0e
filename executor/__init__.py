"""The executor: runs one step per slot."""
