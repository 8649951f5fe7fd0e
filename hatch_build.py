"""Builds the gRPC stubs from proto/ into exeunt/v1: at every wheel or editable build, and by `make stubs`."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # `python hatch_build.py` needs only grpcio-tools
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
OUT = ROOT / "exeunt" / "v1"


def generate() -> list[str]:
    """Writes exeunt/v1/*_pb2*.py and the type stubs, and returns their paths relative to the root."""
    import grpc_tools
    from grpc_tools import protoc

    protos = sorted((ROOT / "proto").rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    site = next(Path(p) for p in sys.path if (Path(p) / "google" / "rpc" / "status.proto").is_file())
    shutil.rmtree(OUT, ignore_errors=True)
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
    names = sorted({re.sub(r"\.proto$", "", p.name) for p in protos})
    (OUT / "__init__.py").write_text('"""Generated from proto/exeunt/v1; `make stubs` makes it anew."""\n')
    (OUT / "py.typed").touch()
    assert all((OUT / f"{name}_pb2.py").is_file() for name in names)
    return [str(p.relative_to(ROOT)) for p in sorted(OUT.iterdir()) if p.is_file()]


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """What hatchling calls before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates the stubs and names them as artifacts, since git ignores them."""
        build_data["artifacts"] += generate()


if __name__ == "__main__":
    generate()
