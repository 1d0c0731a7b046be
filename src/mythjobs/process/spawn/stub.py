"""A small program between fork and exec, for what only the process can do to itself.

Cgroups, rlimits, priorities and the user of a child take effect before its program's first
instruction, and no code of this interpreter runs in it (no preexec_fn): see stub.c.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

_DIRECTORY: Final = Path(__file__).parent
_COMPILED: Final = _DIRECTORY / "mythjobs-stub"
# "no limit" as the C library writes it: all bits of an rlim_t.
_INFINITY: Final = 2**64 - 1
_IO_CLASSES: Final = {"realtime": 1, "best-effort": 2, "idle": 3}
_TEST_S: Final = 10.0


class User(NamedTuple):
    """Whom the child becomes, for good."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Wishes(NamedTuple):
    """What is to be done to the child before its program; nothing of it by default.

    `rlimits`: by number (resource.RLIMIT_…), (soft, hard), -1 for none. `io`: "idle" or
    "best-effort:0" to "best-effort:7".
    """

    joins: tuple[str, ...] = ()
    rlimits: Mapping[int, tuple[int, int]] | None = None
    nice: int = 0
    io: str = ""
    umask: int = -1
    user: User | None = None


PLAIN: Final = Wishes()


def io_class(text: str) -> tuple[int, int]:
    """The kernel's class and level. Raises ValueError with what would be right."""
    name, _, level = text.partition(":")
    if name not in _IO_CLASSES or (level and not (level.isdecimal() and int(level) < 8)):
        raise ValueError(f'"{text}" must be idle, or best-effort:0 (first) to best-effort:7')
    return _IO_CLASSES[name], int(level or (0 if name == "idle" else 4))


def words(wishes: Wishes) -> list[bytes]:
    """In the order in which they can be carried out: a user who is none can do little."""
    asked = [f"j{path}" for path in wishes.joins]
    for number, limits in (wishes.rlimits or {}).items():
        soft, hard = (_INFINITY if each < 0 else each for each in limits)
        asked.append(f"r{number}:{soft}:{hard}")
    if wishes.nice:
        asked.append(f"n{wishes.nice}")
    if wishes.io:
        kind, level = io_class(wishes.io)
        asked.append(f"i{kind}:{level}")
    if wishes.umask >= 0:
        asked.append(f"m{wishes.umask:o}")
    if wishes.user is not None:
        groups = ",".join(str(each) for each in wishes.user.groups)
        asked.append(f"u{wishes.user.uid}:{wishes.user.gid}:{groups}")
    return [os.fsencode(each) for each in asked]


def command(
    report: int, wishes: Wishes, search: str, env: Sequence[bytes], argv: Sequence[bytes]
) -> list[bytes]:
    """What to execute instead of `argv`, with the descriptor `report` left open in it and an
    empty environment: the program's is among the arguments, for it may be another user's, and
    what it tells the dynamic linker must not act on us."""
    where = b"p" + search.encode("utf-8", "surrogateescape")
    return [*program(), b"%d" % report, *words(wishes), where, b"--", *env, b"--", *argv]


def failure(said: bytes) -> tuple[int, str]:
    """What came through `report`: errno and the step, "exec" or the word that failed."""
    number, _, step = said.partition(b" ")
    return (int(number) if number.isdigit() else 0), step.decode("ascii", "replace")


@lru_cache(maxsize=1)
def program() -> tuple[bytes, ...]:
    """The compiled stub if it is there and does what it should, else the Python one."""
    if _works((os.fsencode(_COMPILED),)):
        return (os.fsencode(_COMPILED),)
    return interpreted()


def interpreted() -> tuple[bytes, ...]:
    """It takes 10 ms where the compiled one takes a tenth of one."""
    # UTF-8 whatever the locale is: every byte goes through it unchanged.
    options = (b"-I", b"-S", b"-X", b"utf8")
    return (os.fsencode(sys.executable), *options, os.fsencode(_DIRECTORY / "stub_fallback.py"))


def compiled() -> tuple[bytes, ...]:
    return (os.fsencode(_COMPILED),)


def _works(stub: tuple[bytes, ...]) -> bool:
    """The question starts no program: it is whether a wrong path is told as one."""
    try:
        done = subprocess.run(
            [*stub, b"2", b"p", b"--", b"A=1", b"--", b"/dev/null/none"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TEST_S,
            check=False,
            env={},
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 127 and failure(done.stderr) == (20, "exec")
