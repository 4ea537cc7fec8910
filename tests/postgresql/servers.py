"""Starts a PostgreSQL server of one's own, and stops it by its own process id.

Also as root, who may not run one: then an unprivileged user does, from a copy of the programs.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.postgresql.installations import Installation

__all__ = ["FAST", "Server", "new_folder", "running", "start"]

SUPERUSER = "postgres"
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For tests, where no power fails: a commit waits for no disk."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    # Nothing may depend on the server's own time zone, or on an order by locale.
    "timezone": "Asia/Kathmandu",
}
PATIENCE = 30.0


@attrs.frozen
class Server:
    """A running server; ``password`` has what URLs must escape."""

    installation: Installation
    folder: Path
    port: int
    password: str
    pid: int

    @property
    def version(self) -> str:
        return self.installation.version

    def url(self, database: str = "postgres") -> str:
        """The superuser's URL of a database."""
        return (
            f"postgresql://{SUPERUSER}:{quote(self.password, '')}@127.0.0.1:{self.port}/{database}"
        )

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it and wait: SIGINT ends sessions, SIGQUIT is a crash that is recovered from."""
        _end(self.pid, number)


@contextmanager
def running(installation: Installation, settings: Mapping[str, str]) -> Iterator[Server]:
    """A new server with an empty cluster in a temporary folder, gone with the block."""
    folder = new_folder()
    try:
        server = start(installation, folder, settings)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder() -> Path:
    """A temporary folder that an unprivileged user can reach, with nobody else let in."""
    usual = Path(tempfile.gettempdir())
    reachable = all(part.stat().st_mode & 0o1 for part in (usual, *usual.parents))
    folder = Path(tempfile.mkdtemp(prefix="loki-pg-", dir=None if reachable else "/tmp"))
    _give(folder)
    return folder


def start(installation: Installation, folder: Path, settings: Mapping[str, str]) -> Server:
    """Make a cluster in the folder and run it on a free port."""
    own = installation.copied(folder) if _is_root() else installation
    password = f"p%40@:/{secrets.token_urlsafe(12)}?&#"
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    _give(secret)
    _run(own, "initdb", "-D", folder / "data", *_CLUSTER, f"--pwfile={secret}")
    secret.unlink()
    return launch(own, folder, password, settings)


_CLUSTER = ("-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")


def launch(
    installation: Installation,
    folder: Path,
    password: str,
    settings: Mapping[str, str],
    port: int | None = None,
) -> Server:
    """Run the folder's cluster, again, if it ran before; on the given port or on a free one."""
    for _ in range(5):
        chosen = port or _free_port()
        values = {**_SETTINGS, **settings, "port": str(chosen)}
        options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
        command = [str(installation.programs / "postgres"), "-D", str(folder / "data"), *options]
        with open(folder / "log", "ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdout=log, stderr=log, **_as_user(folder)
            )
        _STARTED.append(process)
        if _answers(installation, chosen, process):
            return Server(installation, folder, chosen, password, process.pid)
    raise RuntimeError(f"PostgreSQL does not start:\n{(folder / 'log').read_text()[-2000:]}")


_STARTED: list["subprocess.Popen[bytes]"] = []
"""Kept, because one that is forgotten while it runs is warned of."""


def _answers(installation: Installation, port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Whether it takes connections at last; False where it has ended."""
    deadline = time.monotonic() + PATIENCE
    ready = [str(installation.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while process.poll() is None and time.monotonic() < deadline:
        if subprocess.run(ready, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return True
        time.sleep(0.02)
    return False


def _end(pid: int, number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    try:
        os.kill(pid, number)
        while time.monotonic() < deadline and not _is_gone(pid):
            time.sleep(0.01)
    except ProcessLookupError:
        return


def _is_gone(pid: int) -> bool:
    """Whether a process has ended; a child of ours is reaped on the way."""
    try:
        child = next(process for process in _STARTED if process.pid == pid)
    except StopIteration:
        os.kill(pid, 0)
        return False
    return child.poll() is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(installation: Installation, program: str, *arguments: Any) -> None:
    command = [installation.programs / program, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        **_as_user(installation.programs),
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


# --- Root may not run a server --------------------------------------------------------------------


def _is_root() -> bool:
    return os.geteuid() == 0


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def _give(path: Path) -> None:
    if _is_root():
        os.chown(path, *_nobody())


def _as_user(folder: Path) -> dict[str, Any]:
    """How to run a program: in a folder that it can read, apart from our terminal's signals."""
    options: dict[str, Any] = {"cwd": "/", "start_new_session": True}
    if _is_root():
        user, group = _nobody()
        options |= {"user": user, "group": group, "extra_groups": []}
    return options
