"""The manifests that a command is given: files, directories and standard input, as pairs of name and text."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from exeunt.cli.failure import WRONG_INPUT, CommandError

SUFFIXES = (".yaml", ".yml", ".json")
MANIFEST_BYTES = 4 * 1024 * 1024


def read_documents(names: Iterable[str]) -> list[tuple[str, str]]:
    """Reads FILE arguments: a path, a directory (all manifests below it), or `-`. Raises CommandError with code 2."""
    found: list[tuple[str, str]] = []
    for name in names:
        if name == "-":
            found.append(("-", _text("-", sys.stdin.buffer.read(MANIFEST_BYTES + 1))))
            continue
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise CommandError(f"{name}: no {', '.join(SUFFIXES)} files are in this directory", code=WRONG_INPUT)
            found += [(str(p), _read(p)) for p in inside]
        else:
            found.append((name, _read(path)))
    return found


def read_parameters(given: Iterable[str], file: str | None) -> dict[str, str]:
    """`-p NAME=VALUE` and a parameter file (a YAML mapping); the command line wins. Raises CommandError with code 2."""
    parameters: dict[str, str] = {}
    if file is not None:
        from exeunt.language.load import load_documents
        from exeunt.language.problems import ManifestError
        from exeunt.language.variables import text

        try:
            documents = load_documents(_read(Path(file)), file)
        except ManifestError as error:
            raise CommandError(str(error), code=WRONG_INPUT) from error
        for document in documents:
            if not isinstance(document.value, dict):
                raise CommandError(f"{file}: a mapping of parameter names to values is expected", code=WRONG_INPUT)
            parameters |= {str(name): text(value) for name, value in document.value.items()}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise CommandError(f"-p {one}: NAME=VALUE is expected", code=WRONG_INPUT)
        parameters[name] = value
    return parameters


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise CommandError(f"{path}: larger than {MANIFEST_BYTES // 1024**2} MB", code=WRONG_INPUT)
        return _text(str(path), path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", code=WRONG_INPUT) from error


def _text(name: str, data: bytes) -> str:
    if len(data) > MANIFEST_BYTES:
        raise CommandError(f"{name}: larger than {MANIFEST_BYTES // 1024**2} MB", code=WRONG_INPUT)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandError(f"{name}: not UTF-8 text (byte {error.start})", code=WRONG_INPUT) from error
