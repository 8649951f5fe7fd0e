"""What an executor remembers across its own death: attempts that it began, and results that nobody acknowledged yet.

A file of records, appended to; what was written is there after a SIGKILL. It is not synced: a machine that goes down
takes the steps with it, and an attempt that no executor knows is lost to its scheduler all the same.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

_BEGUN, _ENDED, _GONE = 0, 1, 2
_LENGTH = 4
_SLACK = 2000


class NotedAttempt(msgspec.Struct):
    """An attempt in the book: its partition, and its update (an encoded AttemptUpdate) once it has ended."""

    partition: int
    update: bytes | None = None


class Book:
    """The open book. `entries` maps attempt ids to what is known of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries = _read(path)
        self._records = 0
        self._file = -1
        self._rewrite()

    def begun(self, id: str, partition: int) -> None:
        """The attempt is about to start. OSError when that cannot be written: then it must not start."""
        self._append((_BEGUN, id, partition, b""))
        self.entries[id] = NotedAttempt(partition)

    def ended(self, id: str, partition: int, update: bytes) -> None:
        """The attempt has ended."""
        self.entries[id] = NotedAttempt(partition, update)
        self._append((_ENDED, id, partition, update))

    def forget(self, ids: list[str]) -> None:
        """Nobody will ask for these again. What cannot be written is told once more in the next life, and forgotten."""
        gone = [id for id in ids if self.entries.pop(id, None) is not None]
        try:
            for id in gone:
                self._append((_GONE, id, 0, b""))
            if self._records > 4 * len(self.entries) + _SLACK:
                self._rewrite()
        except OSError as error:
            log.warning("what is over cannot be noted: %s", error)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _append(self, record: tuple[int, str, int, bytes]) -> None:
        data = _frame(record)
        written = os.write(self._file, data)
        if written != len(data):  # a full disk: take the torn record back
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(f"{self._path}: the record could not be written whole; is the disk full?")
        self._records += 1

    def _rewrite(self) -> None:
        scratch = self._path.with_suffix(".new")
        with scratch.open("wb") as file:
            for id, entry in self.entries.items():
                ended = entry.update is not None
                file.write(_frame((_ENDED if ended else _BEGUN, id, entry.partition, entry.update or b"")))
        scratch.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._records = len(self.entries)


def _frame(record: tuple[int, str, int, bytes]) -> bytes:
    data = msgspec.msgpack.encode(record)
    return len(data).to_bytes(_LENGTH, "big") + data


def _read(path: Path) -> dict[str, NotedAttempt]:
    """The records of the file; a last one that was not written whole is left out."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    entries: dict[str, NotedAttempt] = {}
    decoder = msgspec.msgpack.Decoder(tuple[int, str, int, bytes])
    at = 0
    while at + _LENGTH <= len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
        if end > len(data):
            break
        try:
            kind, id, partition, update = decoder.decode(data[at + _LENGTH : end])
        except msgspec.DecodeError:
            break
        if kind == _GONE:
            entries.pop(id, None)
        else:
            entries[id] = NotedAttempt(partition, update if kind == _ENDED else None)
        at = end
    return entries
