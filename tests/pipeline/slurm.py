"""A SLURM cluster of one node that leaves nothing behind.

It runs in process and mount namespaces of its own, over which its folder's configuration is laid as /etc/slurm: ending
their first process ends every daemon and job, and the machine's own configuration is never touched.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "unshare", "nsenter")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=86400
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1440
PartitionName=gpu Nodes={host} MaxTime=1440
"""


def missing() -> str:
    """Why a cluster cannot be started here; empty where it can."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    absent = [name for name in COMMANDS if not shutil.which(name, path=path)]
    if absent:
        return f"needs {', '.join(absent)} (Debian: slurm-wlm, munge, util-linux)"
    if os.geteuid() != 0:
        return "needs root, as slurmd does"
    entered = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    return "" if entered.returncode == 0 else f"needs namespaces of its own: {entered.stderr.decode().strip()}"


class Cluster:
    """A node of this machine with two partitions, and two GPUs that it only believes in."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("etc", "state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o400)
        host = socket.gethostname().split(".")[0]
        facts = dict(host=host, folder=folder, ports=free_ports(2), cpus=os.cpu_count())
        (folder / "etc/slurm.conf").write_text(CONFIGURATION.format(**facts))
        for device in ("gpu0", "gpu1"):
            (folder / device).touch()
        (folder / "etc/gres.conf").write_text(f"AutoDetect=off\nName=gpu File={folder}/gpu[0-1]\n")

    def __enter__(self) -> Cluster:
        lay = 'mount --bind "$1" /etc/slurm && echo ready && read -r _'
        options = ("--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
        command = ["unshare", *options, "bash", "-c", lay, "bash", str(self.folder / "etc")]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        [first] = psutil.Process(self.holder.pid).children()
        self.inside = ("nsenter", f"--target={first.pid}", "--mount", "--pid")
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self("/usr/sbin/munged", "--force", f"--socket={self.folder}/munge.socket", *files)
        self("/usr/sbin/slurmctld", "-c")
        self("/usr/sbin/slurmd")
        deadline = time.monotonic() + 30
        while "idle" not in (states := self("sinfo", "--noheader", "--format=%T")):
            assert time.monotonic() < deadline, f"the node is {states}: {(self.folder / 'slurmctld.log').read_text()}"
            time.sleep(0.2)
        return self

    def __exit__(self, *_) -> None:
        self.holder.communicate()

    def at(self, folder: Path) -> tuple[str, ...]:
        """What a command in that folder begins with, to run inside."""
        return (*self.inside, "env", f"--chdir={folder}")  # nsenter's own --wd stays outside of the mount namespace

    def jobs(self) -> list[dict[str, str]]:
        """What SLURM says of each job until now."""
        lines = self("scontrol", "--oneliner", "show", "job").splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def __call__(self, *command: str) -> str:
        """Output of a command inside."""
        done = subprocess.run((*self.inside, *command), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


def free_ports(n: int) -> list[int]:
    """Ports of the loopback on which nothing listens."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
