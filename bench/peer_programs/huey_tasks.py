"""Task for huey, and the program that submits it: for each number read, submit as many tasks.

The consumer imports this module; the database is $HUEY_DATABASE. Each task writes a byte to stdout.
"""

from __future__ import annotations

import os
import subprocess
import sys

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.environ["HUEY_DATABASE"])


def run_command(argv: list[str]) -> None:
    subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,  # as in beanstalkd_worker.py
        check=True,
    )
    os.write(1, b".")


def report_ready() -> None:
    os.write(1, b"ready\n")


# Not as decorators: mypy runs without huey.
run_task = huey.task()(run_command)
huey.on_startup()(report_ready)


def main() -> None:
    os.write(1, b"ready\n")
    for line in sys.stdin:
        for _ in range(int(line)):
            run_task(["/bin/true"])


if __name__ == "__main__":
    main()
