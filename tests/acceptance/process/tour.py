"""Tour of MythSystem's guarantees, to be run in unusual environments.

tour.py RESULT [cgroups|none] [--open COUNT] [--ballast MB] [--full] [--interpreted]

Writes "toured" or a traceback into RESULT, as stdout and stderr may be closed.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import traceback
from pathlib import Path

from mythjobs.process import (
    ALL,
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
    Reader,
    Signalled,
    Stopped,
)
from mythjobs.process import cgroup as containers
from mythjobs.process.spawn import stub

# A daemon with its own session and no parent that ignores SIGTERM.
DAEMON = "(trap '' TERM HUP; setsid sh -c 'echo up; sleep 600 & exec sleep 600' &); exec sleep 600"


def outcomes() -> None:
    for code in (0, 1, 127, 142, 200, 255):
        assert MythSystem.shell('exit "$1"', str(code)).run().outcome == Exited(code)
    assert MythSystem.shell("kill -9 $$").run().outcome == Signalled(9)
    missing = MythSystem(["/nowhere/at all"]).run().outcome
    assert isinstance(missing, NotStarted)
    assert missing.errno == errno.ENOENT
    ended = MythSystem(["sleep", "600"], limits=Limits(wall_s=0.05, grace_s=5)).run().outcome
    assert ended == Breached("wall")


def streams() -> None:
    data = os.urandom(300_000)
    done = MythSystem.shell("tee /dev/stderr", stdin=data).run()
    assert done.outcome == Exited(0)
    assert done.stdout.read() == data
    assert done.stderr.read() == data
    with MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start() as process:
        process.stdin.write(b"fed\0\n")
        process.stdin.close()
        assert isinstance(process.stdout, Reader)
        assert process.stdout.read() == b"fed\0\n"
    assert process.outcome == Exited(0)
    # Only the three standard descriptors, and the directory that ls reads.
    listed = MythSystem(["ls", "/proc/self/fd"]).run().stdout.read().split()
    assert listed == [b"0", b"1", b"2", b"3"], listed


def whole_trees_end(contain: bool) -> None:
    process = MythSystem.shell(DAEMON, stdout=PIPE, contain=contain).start()
    assert isinstance(process.stdout, Reader)
    assert process.stdout.read_some() == b"up\n"
    process.pause()
    process.resume()
    assert process.terminate(grace_s=0.05) == Stopped("user")
    # EOF on the pipe proves that no process that held it is left.
    assert process.stdout.read() == b""


def before_the_first_instruction() -> None:
    text = "ulimit -Sn; nice; umask"
    wish = {resource.RLIMIT_NOFILE: (100, 100)}
    # An ordinary user may only become nicer than this process already is.
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)
    done = MythSystem.shell(text, nice=nice, umask=0o27, rlimits=wish, io="idle").run()
    assert done.outcome == Exited(0), done
    assert done.stdout.read().split() == [b"100", b"%d" % nice, b"0027"]


def limits_of_trees(contained: bool) -> None:
    limits = Limits(processes=20, grace_s=0)
    text = "for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3; do sleep 600 & done; done; wait"
    done = MythSystem.shell(text, limits=limits, best_effort=True).run()
    assert done.outcome == Breached("processes"), done
    if not contained:
        refused = MythSystem.shell(text, limits=limits).run().outcome
        assert isinstance(refused, NotStarted)
        assert "processes" in refused.sentence


def on_a_full_disk() -> None:
    done = MythSystem(["head", "-c", "10000000", "/dev/zero"], keep=ALL).run()
    assert done.outcome == Exited(0)
    assert done.stdout.written_bytes == 10_000_000
    assert done.stdout.dropped_bytes > 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("--cgroups", choices=("there", "none"))
    parser.add_argument("--open", type=int, default=0)
    parser.add_argument("--ballast", type=int, default=0)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--interpreted", action="store_true")
    given = parser.parse_args()
    # If the standard descriptors are closed, no file of ours may become one of them by
    # chance and be written to.
    try:
        _tour(given)
        text = "toured"
    except BaseException:
        text = traceback.format_exc()
    given.result.write_text(text)


def _tour(given: argparse.Namespace) -> None:
    groups = containers.open_cgroup_pool()
    contained = groups is not None
    if groups:
        groups.close()
    if given.cgroups:
        assert contained == (given.cgroups == "there")
    if given.interpreted:
        program = stub.interpreted_stub()
        stub.find_stub = lambda: program  # type: ignore[assignment]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if given.open:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        room = hard if hard != resource.RLIM_INFINITY else given.open + 500
        for _ in range(min(given.open, room - 500)):
            os.open(os.devnull, os.O_RDONLY)
    ballast = bytearray(given.ballast * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    if given.full:
        on_a_full_disk()
    outcomes()
    if not given.full:
        streams()
    for contain in (False, True):
        whole_trees_end(contain)
    before_the_first_instruction()
    limits_of_trees(contained)


if __name__ == "__main__":
    main()
