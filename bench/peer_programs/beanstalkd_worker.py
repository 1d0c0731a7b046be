"""Worker for beanstalkd: run the command of each job, delete the job, then write a byte to stdout.

Arguments: the server's socket. Standard library only.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys


def main(path: str) -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    answers = connection.makefile("rb")
    connection.sendall(b"reserve\r\n")
    os.write(1, b"ready\n")
    while True:
        number, length = read_line(answers, b"RESERVED").split()
        body = answers.read(int(length) + 2)
        subprocess.run(
            json.loads(body),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # With posix_spawn, which Python uses without close_fds, a start takes less time.
            close_fds=False,
            check=True,
        )
        # Both in one message: one round trip a job.
        connection.sendall(b"delete " + number + b"\r\nreserve\r\n")
        read_line(answers, b"DELETED")
        os.write(1, b".")


def read_line(answers: io.BufferedReader, expected: bytes) -> bytes:
    """Return what follows the expected word. Exit if another answer comes."""
    line = answers.readline()
    if not line.startswith(expected):
        sys.exit(f"beanstalkd_worker: beanstalkd answered {line!r} instead of {expected!r}")
    return line.removeprefix(expected)


if __name__ == "__main__":
    main(sys.argv[1])
