"""Artifacts from git: a repository is checked out by the program `git`, which asks nobody and tells nobody a secret.

Names, passwords and keys reach it by its environment and by a file of its own, never by the command line. They are for
the host of the repository only: a submodule elsewhere gets none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit, urlunsplit

from exeunt.artifacts.stores import Store, StoreAccess, StoreError, shortened
from exeunt.language.places import GitPlace

GIT_SECONDS = 3600
"""What one command of git may take."""
LONGEST_OUTPUT = 64 << 10
"""Bytes of what git says that are kept, the last ones."""
_HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$EXEUNT_GIT_USER" "$EXEUNT_GIT_WORD"; }; f'
_TEMPORARY = re.compile(
    r"could not resolve host|timed out|timeout|connection (refused|reset|closed)|early eof|rpc failed|hung up"
    r"|returned error: 5\d\d|unable to access .* (failed to connect|empty reply)|network is unreachable",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|error: 40[13]", re.IGNORECASE
)
_HOST_KEY = re.compile(r"host key verification failed", re.IGNORECASE)


class GitStore(Store):
    """A repository at a revision. It is a directory, with its `.git`."""

    directory: ClassVar[bool] = True

    def __init__(self, place: GitPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._at = place
        self._repo, user, word = _apart(place.repo)
        self._user = self.secret(place.username_secret) or user
        self._word = self.secret(place.password_secret) or word
        self._key = self.secret(place.ssh_private_key_secret)
        self._local = _is_local(self._repo)
        if self._local and not access.local_repositories:
            raise self.failed("git.repo: it lies on this machine's own disks; give it by https or ssh")

    async def check_out(self, into: Path) -> None:
        """Raises StoreError; what is in `into` then is of no use."""
        if shutil.which("git") is None:
            raise self.failed("there is no program git on this machine; install it where steps are run")
        with tempfile.TemporaryDirectory(prefix="exeunt-git-") as folder:
            run = _Git(self, into, self._environment(Path(folder)))
            place = self._at
            depth = [f"--depth={place.depth}"] if place.depth else []
            branch = ["--single-branch", f"--branch={place.branch}"] if place.single_branch else ["--no-single-branch"]
            await run("clone", "--quiet", *depth, *branch, "--", self._repo, str(into), inside=False)
            if not await run.said("rev-parse", "--quiet", "--verify", "HEAD") and not await run.said("for-each-ref"):
                return  # an empty repository
            if place.fetch:
                await run("fetch", "--quiet", "--update-head-ok", *depth, "origin", "--", *place.fetch)
            if place.revision:
                await run("checkout", "--quiet", "--detach", await self._resolved(run), "--")
            if not place.disable_submodules:
                await run("submodule", "--quiet", "update", "--init", "--recursive")

    async def _resolved(self, run: _Git) -> str:
        """The commit of the revision; what a shallow clone left out is fetched for it."""
        wanted = self._at.revision
        names = (f"refs/tags/{wanted}", f"refs/remotes/origin/{wanted}", f"refs/heads/{wanted}", wanted)
        for attempt in range(3):
            for name in names:
                found = await run.said("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
                if found:
                    return found
            if attempt == 0:
                shallow = (await run.said("rev-parse", "--is-shallow-repository")) == "true"
                await run("fetch", "--quiet", "--tags", *(["--unshallow"] if shallow else []), "origin")
            elif attempt == 1 and re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", wanted):
                await run.said("fetch", "--quiet", "origin", wanted)  # a commit of no branch, where the server gives it
        raise self.failed(f"git.revision: there is no {wanted!r} in it, neither tag nor branch nor commit")

    def _environment(self, folder: Path) -> dict[str, str]:
        """git's environment: nothing of the machine's own settings, and no way to ask for anything."""
        config = [
            ("core.hooksPath", "/dev/null"),
            ("http.lowSpeedLimit", "100"),
            ("http.lowSpeedTime", "60"),
            ("advice.detachedHead", "false"),
            ("gc.auto", "0"),
        ]
        known = {
            name: os.environ[name]
            for name in ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "http_proxy", "no_proxy")
            if name in os.environ
        }
        made = {**known, "HOME": str(folder), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
        made |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "SSH_ASKPASS": "true"}
        made["GIT_ALLOW_PROTOCOL"] = "https:http:ssh:git:file" if self._local else "https:http:ssh:git"
        parts = urlsplit(self._repo)
        if (self._user or self._word) and parts.scheme in ("http", "https"):
            config.append((f"credential.{parts.scheme}://{parts.netloc}.helper", _HELPER))
            made |= {"EXEUNT_GIT_USER": self._user, "EXEUNT_GIT_WORD": self._word}
        if self._at.insecure_skip_tls:
            config.append(("http.sslVerify", "false"))
        ssh = ["ssh", "-oBatchMode=yes", "-oConnectTimeout=30", "-oServerAliveInterval=15"]
        if self._at.insecure_ignore_host_key:
            ssh += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
        else:
            ssh.append("-oStrictHostKeyChecking=yes")
        if self._key:
            key = folder / "key"
            key.touch(0o600)
            key.write_text(self._key.rstrip() + "\n")
            ssh += ["-oIdentitiesOnly=yes", f"-oIdentityFile={key}"]
        made["GIT_SSH_COMMAND"] = " ".join(ssh)
        made["GIT_CONFIG_COUNT"] = str(len(config))
        for at, (name, value) in enumerate(config):
            made |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
        return made

    def words(self, command: str, said: str) -> StoreError:
        """What git's complaint means."""
        for secret in (self._word, self._user):
            if len(secret) > 2:
                said = said.replace(secret, "***")
        lines = [line for line in said.splitlines() if not line.startswith(("Cloning into", "warning:", "hint:"))]
        text = shortened(" ".join(lines)) or "it says nothing"
        if _HOST_KEY.search(said):
            return self.failed("the host's key is not known; add it to ssh_known_hosts, or say insecureIgnoreHostKey")
        if _DENIED.search(said):
            return self.failed(f"access denied ({text}); look at the secrets of the place")
        return self.failed(f"git {command}: {text}", temporary=_TEMPORARY.search(said) is not None)


class _Git:
    """Commands in one clone."""

    def __init__(self, store: GitStore, clone: Path, environment: dict[str, str]) -> None:
        self._store, self._clone, self._environment = store, clone, environment

    async def __call__(self, *arguments: str, inside: bool = True) -> str:
        """What a command says on its standard output. Raises StoreError where it fails."""
        code, out, said = await self._run(arguments, inside=inside)
        if code:
            raise self._store.words(arguments[0], said)
        return out

    async def said(self, *arguments: str) -> str:
        """What a command says on its standard output; empty where it fails."""
        code, out, _ = await self._run(arguments, inside=True)
        return "" if code else out

    async def _run(self, arguments: tuple[str, ...], *, inside: bool) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            "git",
            *(("-C", str(self._clone)) if inside else ()),
            *arguments,
            env=self._environment,
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(GIT_SECONDS):
                out, said = await asyncio.gather(_last(process.stdout), _last(process.stderr))
                code = await process.wait()
        except TimeoutError as error:
            raise self._store.failed(f"git {arguments[0]} took more than {GIT_SECONDS} s", temporary=True) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # ssh and its like, too
                await process.wait()
        return code, out.decode(errors="replace").strip(), said.decode(errors="replace")


async def _last(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while data := await stream.read(1 << 16):
        kept = (kept + data)[-LONGEST_OUTPUT:]
    return kept


def _apart(repo: str) -> tuple[str, str, str]:
    """An address without user and password, where it is one by HTTP; the user of ssh stays."""
    try:
        parts = urlsplit(repo)
    except ValueError:
        return repo, "", ""
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return repo, "", ""
    who, _, host = parts.netloc.rpartition("@")
    user, _, word = who.partition(":")
    return urlunsplit(parts._replace(netloc=host)), unquote(user), unquote(word)


def _is_local(repo: str) -> bool:
    """Whether git would look for it on this machine: anything but an address with a host."""
    if "://" in repo:
        return urlsplit(repo).scheme == "file"
    host, colon, _ = repo.partition(":")
    return not colon or "/" in host
