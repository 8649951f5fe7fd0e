"""What looks are: generators that yield the composites to be visited before they go on (exeunt.engine)."""

from __future__ import annotations

from collections.abc import Generator

from exeunt.engine.facts.nodes import Node

Walk = Generator[Node, None, None]
"""A look that does what it can."""
Answer = Generator[Node, None, bool]
"""A look that also says whether what it is about is done."""
