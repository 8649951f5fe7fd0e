"""Servers of this machine in the place of those that Argo's examples name, and their addresses put in."""

from __future__ import annotations

import contextlib
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.actions import servers

SCRIPT = b'#!/bin/sh\necho a program from the net: "$@"\n'
SECRETS = """
apiVersion: v1
kind: Secret
metadata: {name: my-s3-credentials}
stringData: {accessKey: KEY_ID, secretKey: KEY_WORD, accesskey: KEY_ID, secretkey: KEY_WORD}
---
apiVersion: v1
kind: Secret
metadata: {name: my-minio-cred}
stringData: {accesskey: KEY_ID, secretkey: KEY_WORD}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: artifact-repositories}
data:
  my-key: |
    s3:
      endpoint: S3_HOST
      insecure: true
      bucket: my-bucket
      accessKeySecret: {name: my-minio-cred, key: accesskey}
      secretKeySecret: {name: my-minio-cred, key: secretkey}
---
apiVersion: v1
kind: Secret
metadata: {name: my-secret}
stringData: {mypassword: S00perS3cretPa55word}
"""
_HOSTS = re.compile(r"https://(raw\.githubusercontent\.com|storage\.googleapis\.com|datahub\.io)")
_GIT = re.compile(r"https://github\.com/[\w./-]+?\.git")
_S3 = re.compile(r"^( *)endpoint: (s3\.amazonaws\.com|minio:9000)$", re.MULTILINE)


class StandIns(NamedTuple):
    """Where they listen: `web` and `git` as addresses, `s3` as host and port."""

    web: str
    git: str
    s3: servers.S3

    def into(self, text: str) -> str:
        """A manifest with these addresses in the place of those that it names."""
        host = self.s3.url.removeprefix("http://")
        text = _S3.sub(rf"\1endpoint: {host}\n\1insecure: true", text)
        return _GIT.sub(self.git, _HOSTS.sub(self.web, text))

    @property
    def secrets(self) -> str:
        """The secrets and the repository that the examples name."""
        return (
            SECRETS.replace("S3_HOST", self.s3.url.removeprefix("http://"))
            .replace("KEY_ID", self.s3.key_id)
            .replace("KEY_WORD", self.s3.key)
        )


class _Web(http.server.SimpleHTTPRequestHandler):
    """Files of a directory below /git, and one program under all other paths, but for those that are meant to miss."""

    def do_GET(self) -> None:
        if self.path.startswith("/git/"):
            super().do_GET()
            return
        self.send_response(404 if "thisisnotahash" in self.path else 200)
        self.send_header("Content-Length", str(len(SCRIPT)))
        self.end_headers()
        self.wfile.write(SCRIPT)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def stand_ins(folder: Path) -> Iterator[StandIns]:
    """All of them, gone after the block."""
    _repository(folder)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Web(*given, directory=str(folder)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}"
    try:
        with servers.s3() as s3:
            for bucket in ("my-bucket", "my-bucket-name"):
                (s3.folder / bucket).mkdir()
            (s3.folder / "my-bucket-name" / "path" / "in").mkdir(parents=True)
            (s3.folder / "my-bucket-name" / "path" / "in" / "bucket").write_text("hello from a bucket\n")
            yield StandIns(address, f"{address}/git/example.git", s3)
    finally:
        web.shutdown()


def _repository(folder: Path) -> None:
    folder.mkdir(parents=True)
    work, bare = folder / "work", folder / "git" / "example.git"

    def git(*arguments: str, at: Path = folder) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *arguments], cwd=at, check=True, capture_output=True)

    git("init", str(work))
    (work / "README.md").write_text("an example\n")
    git("add", ".", at=work)
    git("commit", "-m", "first", at=work)
    git("tag", "v2.1.1", at=work)
    git("clone", "--bare", str(work), str(bare))
    git("update-server-info", at=bare)
