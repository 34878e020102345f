"""An SSH server on the loopback, for the user who runs the tests and a key made for them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
PubkeyAuthentication yes
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Server:
    """Where it listens, and the private key that it lets in."""

    port: int
    key: Path

    def url(self, path: Path) -> str:
        """A folder as the server shows it."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def missing() -> str:
    """Why a server cannot be started here; empty where it can."""
    if SSHD is None or not shutil.which("ssh-keygen"):
        return "needs sshd and ssh-keygen (Debian: openssh-server)"
    return ""


def _answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """A server whose files lie in the folder, which ends with the block."""
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(CONFIGURATION.format(port=port, folder=folder))
    separation = Path("/run/sshd")  # sshd as root wants it, and it is empty
    made = os.geteuid() == 0 and not separation.exists()
    if made:
        separation.mkdir(mode=0o755)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield Server(port, folder / "key")
    finally:
        process.terminate()
        process.wait()
        if made:
            separation.rmdir()
