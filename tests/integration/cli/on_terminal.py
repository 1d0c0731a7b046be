"""Runs the command line on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping

from tests.integration.cli.scripted import Master, environment


def run_on_terminal(
    master: Master,
    *arguments: str,
    columns: int = 0,
    with_stderr: bool = False,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Return what a terminal gets from a command line that ends with 0.

    columns: width of the terminal; 0 is unknown. with_stderr: stderr is the terminal, too.
    variables: added to the environment.
    """
    ours, theirs = pty.openpty()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        master.command(*arguments),
        env=environment(**{"TERM": "xterm", **(variables or {})}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if with_stderr else None,
    )
    os.close(theirs)
    output = b""
    try:
        while data := os.read(ours, 65_536):
            output += data
    except OSError:  # EIO: the process has closed the terminal
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return output.decode().replace("\r\n", "\n")
