"""Program of a job that logs its own execution.

Usage: `python -I -S logging_job.py DIRECTORY SECONDS CODE`.

It appends a line to DIRECTORY/executions at its start, every 50 ms and at its end, with
CLOCK_BOOTTIME. A lock on DIRECTORY/JOB.lock detects a concurrent attempt of the same job.
"""

import fcntl
import os
import sys
import time

INTERVAL_S = 0.05


def main() -> int:
    directory, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    job, n = os.environ["MYTHJOBS_JOB"], os.environ["MYTHJOBS_ATTEMPT"]
    log = os.open(f"{directory}/executions", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write_line(event: str) -> int:
        """Append a line with one write(2), also to stdout. Return its length."""
        stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        line = f"{event} {job} {n} {os.getpid()} {stamp_ns}\n".encode()
        os.write(log, line)
        return os.write(1, line)

    lock = os.open(f"{directory}/{job}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        write_line("overlap")
        return 99
    written_bytes = write_line("start")
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(left_s, INTERVAL_S))
        written_bytes += write_line("beat")
    write_line(f"end:{code}:{written_bytes}")
    return code


if __name__ == "__main__":
    sys.exit(main())
