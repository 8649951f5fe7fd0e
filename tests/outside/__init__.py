"""Tools of others, each a program by itself: `python -m tests.outside.NAME`. Where one is missing, it says so."""
