"""Builds the gRPC stubs from proto/ into exeunt/: at every wheel or editable build, and by `make stubs`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # `python hatch_build.py` needs only grpcio-tools
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
PACKAGES = {"exeunt/v1": "exeunt/v1", "exeunt/internal/v1": "exeunt/internal"}
"""Where the stubs of each package go, and what of that holds nothing else."""


def generate() -> list[str]:
    """Writes *_pb2*.py and the type stubs, and returns their paths relative to the root."""
    import grpc_tools
    from grpc_tools import protoc

    protos = sorted((ROOT / "proto").rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    site = next(Path(p) for p in sys.path if (Path(p) / "google" / "rpc" / "status.proto").is_file())
    for folder in PACKAGES.values():
        shutil.rmtree(ROOT / folder, ignore_errors=True)
    here = str(Path(sys.executable).parent)
    plugins = {n: shutil.which(n, path=here) or shutil.which(n) for n in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")}
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{well_known}",
        f"-I{site}",
        f"--python_out={ROOT}",
        f"--grpc_python_out={ROOT}",
    ]
    for name, path in plugins.items():
        if path:
            out = name.removeprefix("protoc-gen-")
            arguments += [f"--plugin={name}={path}", f"--{out}_out={ROOT}"]
    if protoc.main([*arguments, *map(str, protos)]) != 0:
        raise SystemExit("the stubs could not be generated from proto/")
    for package, folder in PACKAGES.items():
        for path in {ROOT / package, ROOT / folder}:
            (path / "__init__.py").write_text(f'"""Generated from proto/{package}; `make stubs` makes it anew."""\n')
        (ROOT / package / "py.typed").touch()
    names = [p.relative_to(ROOT / "proto").with_suffix("") for p in protos]
    assert all((ROOT / f"{name}_pb2.py").is_file() for name in names)
    made = [path for folder in PACKAGES.values() for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    return [str(path.relative_to(ROOT)) for path in made if "__pycache__" not in path.parts]


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """What hatchling calls before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates the stubs and names them as artifacts, since git ignores them."""
        build_data["artifacts"] += generate()


if __name__ == "__main__":
    generate()
