"""Peers that are batch systems: HyperQueue, task-spooler, Slurm."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import peer_base
import processes
import support
from peer_base import EndPipe, Peer, Place, Programs, RunningPeer
from peer_queues import SubmitterPeer

MAX_ARRAY: Final = 100_000


class HyperQueue(Peer):
    """HyperQueue's Python package: a server and a worker in one process, without a journal."""

    name = "hyperqueue"
    setting = "LocalCluster"
    durability = "nothing: the journal needs the program hq, which is in no package"

    def find_missing(self, python: Path) -> str | None:
        return peer_base.find_missing_module(python, "hyperqueue", "hyperqueue")

    def read_version(self, python: Path) -> str:
        return peer_base.read_module_version(python, "hyperqueue")

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        program = [place.python, peer_base.PROGRAMS / "hyperqueue_cluster.py"]
        with Programs(place.directory) as programs:
            ends = EndPipe(programs)
            cluster = programs.start(
                [*program, place.directory, str(place.in_flight)],
                stdin=subprocess.PIPE,
                stdout=ends.write_end,
            )
            ends.wait_ready(1)
            running = SubmitterPeer(cluster, ends)
            running.clients = frozenset()  # the program that submits is also server and worker
            try:
                yield running
            finally:
                ends.close()


class TaskSpoolerRun(RunningPeer):
    """Each job has a client of its own in the background, which runs it when its turn has come.

    These clients are orphans that this process adopts, so their ends are the ends of the jobs.
    """

    has_helpers = True

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def run(self, jobs: int) -> float:
        ended = 0
        start_s = time.monotonic()
        for _ in range(jobs):
            ended += self._submit()
        while ended < jobs:
            _wait_any()
            ended += 1
        return time.monotonic() - start_s

    def _submit(self) -> int:
        """Submit a job. Return the number of background clients that ended meanwhile."""
        submitted = os.posix_spawnp(
            "tsp",
            ["tsp", "-n", "/bin/true"],
            self._env,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        ended = 0
        while _wait_any() != submitted:
            ended += 1
        return ended


def _wait_any() -> int:
    """Wait for the end of any child, and return its pid. Raises BenchError if it failed."""
    pid, status = os.wait()
    if status:
        raise support.BenchError(f"tsp ended with code {os.waitstatus_to_exitcode(status)}")
    return pid


class TaskSpooler(Peer):
    """task-spooler: a server that starts with the first client, and a client for each job."""

    name = "task-spooler"
    durability = "nothing: memory"

    def find_missing(self, python: Path) -> str | None:
        return peer_base.find_missing_program("tsp", "task-spooler")

    def read_version(self, python: Path) -> str:
        # "Task Spooler v1.0.1 - …"
        return peer_base.read_output(["tsp", "-V"]).split()[2].removeprefix("v")

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        env = os.environ | {
            "TS_SOCKET": str(place.directory / "socket"),
            "TS_SLOTS": str(place.in_flight),
            "TS_MAXFINISHED": "10",
            "TMPDIR": str(place.directory),
        }
        running = TaskSpoolerRun(env)
        try:
            running.run(1)
            yield running
        finally:
            subprocess.run(["tsp", "-K"], env=env, stdout=subprocess.DEVNULL, check=False)


# With an epilog, the end of a job starts the scheduler; without, it runs once a second (7 jobs/s
# instead of 40). The other settings omit what the other peers do not do either.
SLURM_CONF: Final = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc={directory}/ended
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
Epilog=/bin/true
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,default_queue_depth=1000
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
MaxArraySize={max_array}
MaxJobCount={max_array}
MinJobAge=10
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={in_flight} State=UNKNOWN
PartitionName=bench Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class SlurmRun(RunningPeer):
    """Jobs of one array. Their ends are the lines that slurmctld writes for each."""

    has_helpers = True

    def __init__(self, place: Place, env: dict[str, str], programs: Programs) -> None:
        self._ended, self._env, self._programs = place.directory / "ended", env, programs
        self._script = place.directory / "job.sh"
        self._script.write_text("#!/bin/sh\nexec /bin/true\n")

    def run(self, jobs: int) -> float:
        options = [f"--array=1-{jobs}", "--output=/dev/null", "--error=/dev/null"]
        size = self._ended.stat().st_size if self._ended.exists() else 0
        start_s = time.monotonic()
        submitted = subprocess.run(
            ["sbatch", *options, self._script],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        if submitted.returncode:
            raise support.BenchError(f"sbatch: {submitted.stderr.strip()}")
        ended = 0
        last_s = time.monotonic()
        while ended < jobs:
            time.sleep(0.01)
            processes.reap_orphans(self._programs.pids)  # slurmstepd
            if self._ended.exists() and (grown := self._ended.stat().st_size) > size:
                ended += self.count_ended(size, grown)
                size, last_s = grown, time.monotonic()
            self._programs.check_running()
            if time.monotonic() - last_s > peer_base.STALL_TIMEOUT_S:
                raise support.BenchError("Slurm ended no job for a minute")
        return time.monotonic() - start_s

    def count_ended(self, start: int, end: int) -> int:
        with self._ended.open("rb") as lines:
            lines.seek(start)
            new = lines.read(end - start)
        if new.count(b"JobState=") != new.count(b"JobState=COMPLETED"):
            raise support.BenchError(f"a job of Slurm failed: {new.decode(errors='replace')}")
        return new.count(b"\n")


class Slurm(Peer):
    """slurmctld, slurmd and munged on loopback, as one node."""

    name = "slurm"
    durability = "kill -9, power cut: without the last seconds (StateSaveLocation)"

    def find_missing(self, python: Path) -> str | None:
        for program, package in (
            ("slurmctld", "slurmctld"),
            ("slurmd", "slurmd"),
            ("munged", "munge"),
            ("sbatch", "slurm-client"),
        ):
            if missing := peer_base.find_missing_program(program, package):
                return missing
        return None

    def read_version(self, python: Path) -> str:
        return peer_base.read_output(["slurmctld", "-V"]).split()[-1]

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        directory = place.directory
        (directory / "state").mkdir()
        (directory / "spool").mkdir()
        (directory / "munge.key").write_bytes(secrets.token_bytes(128))
        (directory / "munge.key").chmod(0o600)
        (directory / "slurm.conf").write_text(build_slurm_conf(place, *find_free_ports(2)))
        env = {"SLURM_CONF": str(directory / "slurm.conf")}
        munged: list[str | Path] = ["munged", "--foreground", "--force"]
        for option, name in (
            ("--key-file", "munge.key"),
            ("--socket", "munge.socket"),
            ("--pid-file", "munge.pid"),
            ("--seed-file", "munge.seed"),
            ("--log-file", "munge.log"),
        ):
            munged.append(f"{option}={directory / name}")
        with Programs(directory) as programs:
            programs.start(munged)
            programs.wait_for(directory / "munge.socket")
            programs.start(["slurmctld", "-D", "-c"], env=env)
            programs.start(["slurmd", "-D"], env=env)
            wait_idle(env, programs)
            yield SlurmRun(place, os.environ | env, programs)


def build_slurm_conf(place: Place, controller_port: int, daemon_port: int) -> str:
    return SLURM_CONF.format(
        host=socket.gethostname().partition(".")[0],
        user=pwd.getpwuid(os.geteuid()).pw_name,
        directory=place.directory,
        in_flight=place.in_flight,
        controller_port=controller_port,
        daemon_port=daemon_port,
        max_array=MAX_ARRAY,
    )


def find_free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_idle(env: dict[str, str], programs: Programs) -> None:
    """Wait until the node accepts jobs. Raises BenchError after half a minute."""
    until_s = time.monotonic() + peer_base.START_TIMEOUT_S
    state = ""
    while time.monotonic() < until_s:
        programs.check_running()
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
        )
        state = found.stdout.strip() or found.stderr.strip()
        if state == "idle":
            return
        time.sleep(0.1)
    raise support.BenchError(f"the node of Slurm is not idle but: {state}")
