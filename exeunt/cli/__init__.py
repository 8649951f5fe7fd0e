"""The command line."""

from __future__ import annotations

import sys


def entry() -> None:
    """The program: also while its own modules are being imported Ctrl-C ends it with a word, not with a traceback."""
    try:
        from exeunt.cli.main import main

        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
