"""HyperQueue's server and a worker in one process: `hyperqueue_cluster.py DIRECTORY CORES`.

For each number read, submit a job of as many tasks, and write as many bytes to stdout at its end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def main(directory: str, cores: str) -> None:
    ended = Path(directory, "ended")
    os.mkfifo(ended)
    with LocalCluster(directory, WorkerConfig(cores=int(cores))) as cluster:
        client = cluster.client()
        os.write(1, b"ready\n")
        for line in sys.stdin:
            job = Job(default_workdir=directory)
            tasks = [job.program(["/bin/true"], stdout=None, stderr=None) for _ in range(int(line))]
            # wait_for_jobs() looks once a second, so another task reports the end of all.
            report = ["/bin/sh", "-c", 'echo > "$0"', str(ended)]
            job.program(report, stdout=None, stderr=None, deps=tasks)
            submitted = client.submit(job)
            ended.read_bytes()
            os.write(1, b"." * len(tasks))
            client.wait_for_jobs([submitted])


if __name__ == "__main__":
    main(*sys.argv[1:])
