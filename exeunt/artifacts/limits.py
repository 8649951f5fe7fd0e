"""What archives may be at most, and what is said of those that are more, or broken, or hostile."""

from __future__ import annotations

from dataclasses import dataclass

ENTRIES = 1_000_000
"""Files, directories and links of one archive."""
NAME_BYTES = 4096
"""A path in an archive."""
HEADER_BYTES = 1024 * 1024
"""What a tar may say of one entry, before its content."""
DIRECTORY_BYTES = 32 * 1024 * 1024
"""The list of contents at the end of a zip, which is read as a whole: about 300,000 files."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much one archive may come to. Sizes in bytes."""

    unpacked_bytes: int = 64 * 1024**3
    """What is written, all files together."""
    packed_bytes: int = 64 * 1024**3
    """What is read."""
    entries: int = ENTRIES
    ratio: int = 250
    """What is written, against what was read: more is a bomb, once it is more than `unsuspected_bytes`."""
    unsuspected_bytes: int = 4 * 1024**3
    """So much may come from any archive: two gigabytes of zeros are packed a thousand to one, and harmless."""


class ArchiveError(Exception):
    """A file or archive cannot be packed or unpacked; the text says which, why, and what to do."""


class MissingFileError(ArchiveError):
    """What was to be packed is not there: matters for optional artifacts."""
