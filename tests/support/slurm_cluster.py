"""A two-node SLURM cluster on this one machine, with its own configuration, munge key, socket and ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
NODES = ("node1", "node2")
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")
# a requeued job waits for cred_expire; nodes are said to have four processors whatever the machine has
CONF = """
ClusterName=tersely
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
FirstJobId={first_job}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """What this machine lacks for a cluster, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a cluster of one's own needs Linux and root"
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge" if missing else None


class Cluster:
    """Started when made; `stop` ends every process of it, jobs included, and removes its folder."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tersely-slurm-", dir="/tmp"))  # a socket's path is short
        self.root.chmod(0o755)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.root / name).mkdir()
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o600)
        host = socket.gethostname().partition(".")[0]
        # the port of a job comes from its number: the first of a row of numbers far from those of a real cluster here
        first_job = int.from_bytes(os.urandom(2), "big") + 100_000
        conf = CONF.format(root=self.root, host=host, ports=free_ports(3), first_job=first_job)
        (self.root / "slurm.conf").write_text(conf)
        (self.root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self.env = {**os.environ, "SLURM_CONF": str(self.root / "slurm.conf")}
        self.daemons: list[subprocess.Popen] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={self.root}/munge.{name}" for option, name in files.items()]
        self._daemon("munged", "--foreground", "--force", *munge)
        wait(lambda: (self.root / "munge.socket").exists(), 30, self.logs)
        self._daemon("slurmctld", "-D", "-i")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        wait(lambda: self("sinfo", "-h", "-N", "-o", "%T", check=False).split() == ["idle"] * 2, 60, self.logs)

    def _daemon(self, *words: str) -> None:
        with (self.root / "daemons.log").open("a") as log:
            self.daemons.append(
                subprocess.Popen(
                    words, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
                )
            )

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, (words, done.stderr, self.logs())
        return done.stdout.strip()

    def fact(self, job: str, name: str) -> str:
        """One field of `scontrol show job`; names of jobs may hold blanks, these fields do not."""
        shown = self("scontrol", "show", "job", job)
        return next((word.partition("=")[2] for word in shown.split() if word.startswith(f"{name}=")), "")

    def finished(self, job: str, timeout: float, tell=lambda: "") -> str:
        """The state a job ended in."""
        wait(lambda: self.fact(job, "JobState") in FINAL, timeout, lambda: f"{tell()}\n{self.logs()}")
        return self.fact(job, "JobState")

    def logs(self) -> str:
        tails = [f"== {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.root.glob("*.log"))]
        return "\n".join(tails)

    def processes(self) -> list[int]:
        """Every live process that was started with this cluster's configuration, this one and its threads left out."""
        mine, found = f"SLURM_CONF={self.root}/slurm.conf".encode(), []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mine in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def stop(self) -> None:
        if len(self.daemons) > 1:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self("scancel", "--full", "--quiet", "--user=root", check=False)
            with contextlib.suppress(AssertionError):
                wait(lambda: not self("squeue", "-h", check=False), 30)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
        end = time.monotonic() + 20
        while self.processes():
            for pid in self.processes() if time.monotonic() > end else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        for daemon in self.daemons:
            daemon.wait()
        shutil.rmtree(self.root)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        made.stop()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait(true, seconds: float, tell=lambda: "") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s\n{tell()}"
        time.sleep(0.3)
