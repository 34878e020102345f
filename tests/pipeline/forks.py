"""`nonnormal` and `snakemake` without the seconds in which they import: forks of a process that has done so already.

`forked()` is a folder for PATH whose two commands hand arguments, working directory, environment and open files to a
server. It forks, runs the command's own `main`, and hands back the exit code. The server ends with the context.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

COMMANDS = {"nonnormal": "nonnormal.study.cli", "snakemake": "snakemake.cli"}
CLIENT = """#!{python} -SE
import sys
sys.path.insert(0, {here!r})
import forks
sys.exit(forks.ask({address!r}, {command!r}))
"""


@contextlib.contextmanager
def forked() -> Iterator[Path]:
    """A folder of commands that are forks, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as name:
        folder, here = Path(name), str(Path(__file__).parent)
        address = folder / "socket"
        for command in COMMANDS:
            script = folder / command
            script.write_text(CLIENT.format(python=sys.executable, here=here, address=str(address), command=command))
            script.chmod(0o755)
        server = subprocess.Popen([sys.executable, __file__, str(address)])
        try:
            while not address.exists():
                assert server.poll() is None, "the server of forks ended"
                time.sleep(0.05)
            yield folder
        finally:
            server.terminate()
            server.wait()


def ask(address: str, command: str) -> int:
    """Exit code of the command with the arguments, folder, environment and files of this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        said = json.dumps([command, sys.argv[1:], str(Path.cwd()), dict(os.environ)]).encode()
        socket.send_fds(connection, [len(said).to_bytes(8)], [0, 1, 2])
        connection.sendall(said)
        return int(connection.recv(8) or b"1")


def serve(address: str) -> None:
    """Answers each `ask`, in a process of its own."""
    prepare()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen(64)
        Path(f"{address}.new").rename(address)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                answer(connection)
                os._exit(0)
            connection.close()
            with contextlib.suppress(ChildProcessError):  # forks that have ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def prepare() -> None:
    """Imports what the commands import."""
    import gc
    import importlib
    import pkgutil

    import torch

    import nonnormal

    torch.set_num_threads(1)  # a fork has no other threads
    for found in pkgutil.walk_packages(nonnormal.__path__, "nonnormal."):
        if not found.name.endswith(".__main__"):  # which runs
            importlib.import_module(found.name)
    for module in (*COMMANDS.values(), "snakemake.workflow", "snakemake.scheduling.greedy"):
        importlib.import_module(module)
    gc.freeze()  # else a fork's first collection copies all that was imported


def answer(connection: socket.socket) -> None:
    """Runs what is asked for in a fork, which ends when the asking process does."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    command, arguments, folder, environment = json.loads(connection.makefile("rb").read(int.from_bytes(head)))
    request = (command, arguments, folder, environment, files)
    worker = multiprocessing.get_context("fork").Process(target=run, args=request)
    worker.start()
    if connection in select.select([connection, worker.sentinel], [], [])[0]:
        worker.terminate()
    worker.join()
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(worker.exitcode % 256).encode())


def run(command: str, arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """Becomes the command, up to its end."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = str(Path(sys.executable).parent)  # as where the command is a file
    sys.argv = [command, *arguments]
    try:
        sys.exit(sys.modules[COMMANDS[command]].main())
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


if __name__ == "__main__":
    serve(sys.argv[1])
