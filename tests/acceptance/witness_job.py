"""A job that testifies to its own life: `python -I -S witness_job.py DIRECTORY SECONDS CODE`.

While it lives it holds a lock that no other attempt of its job can have, and it appends a line
at its start, every 50 ms and at its end. All lines are stamped by the one clock of the kernel, so
what they say together is a proof of what ran when, whatever master and agents believe.
"""

import fcntl
import os
import sys
import time

BEAT_S = 0.05


def main() -> int:
    directory, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    job, n = os.environ["MYTHJOBS_JOB"], os.environ["MYTHJOBS_ATTEMPT"]
    log = os.open(f"{directory}/testimony", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(what: str) -> int:
        """One write each, so that lines of different jobs never mix. Answers its own length."""
        stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        line = f"{what} {job} {n} {os.getpid()} {stamp_ns}\n".encode()
        os.write(log, line)
        return os.write(1, line)

    lock = os.open(f"{directory}/{job}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("overlap")
        return 99
    wrote = say("start")
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, BEAT_S))
        wrote += say("beat")
    say(f"end:{code}:{wrote}")
    return code


if __name__ == "__main__":
    sys.exit(main())
