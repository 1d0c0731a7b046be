"""pgqueuer: `pgqueuer_jobs.py install|worker|submit URL [JOBS]`.

Installing creates the tables in the default way, logged (durable).
The worker runs up to JOBS commands at once, and writes a byte to stdout for each stored end.
The other program submits as many jobs as each number that it reads, 100 in a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

BATCH = 100
ARGV = json.dumps(["/bin/true"]).encode()


class ReportingQueries(Queries):  # type: ignore[misc]
    """Queries that report ends once they are committed."""

    async def log_jobs(self, job_status: list[Any]) -> None:
        await super().log_jobs(job_status)
        os.write(1, b"." * len(job_status))


def run_program(argv: list[str]) -> None:
    subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,  # as in beanstalkd_worker.py
        check=True,
    )


async def install(url: str) -> None:
    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def work(url: str, in_flight: int) -> None:
    driver = AsyncpgDriver(await asyncpg.connect(url))
    application = PgQueuer(driver, queries=ReportingQueries(driver))
    # In threads: asyncio starts two thirds as many programs in a second, with uvloop a tenth.
    commands = ThreadPoolExecutor(in_flight)

    async def run_command(job: Any) -> None:
        argv = json.loads(job.payload)
        await asyncio.get_running_loop().run_in_executor(commands, run_program, argv)

    application.entrypoint("run")(run_command)
    os.write(1, b"ready\n")
    # The threads limit the commands: with max_concurrent_tasks, pgqueuer waits 0.1 s for the next
    # request whenever all are taken.
    await application.run(batch_size=BATCH)


async def submit(url: str) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    os.write(1, b"ready\n")
    for line in sys.stdin:
        for start in range(0, left := int(line), BATCH):
            size = min(BATCH, left - start)
            await queries.enqueue(["run"] * size, [ARGV] * size, [0] * size)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        uvloop.run(work(sys.argv[2], int(sys.argv[3])))
    else:
        uvloop.run({"install": install, "submit": submit}[sys.argv[1]](sys.argv[2]))
