"""Definitions for a program that another scheduler runs: its command and its schedule."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from mythjobs.takeover.entry import Account, ImportFacts, Table

# Normal priority. Without it, jobs run at nice 19 with idle I/O priority.
NORMAL_IO = "best-effort:4"
_DEFAULT_SHELL = "/bin/sh"
# Absolute, because the PATH of the program may be that of another user.
_SETPRIV = "/usr/bin/setpriv"
# Before the names of variables that are set only after the change of user.
_LATER = "IMPORTED_"
# Variables that change nothing in setpriv. Others may: LD_LIBRARY_PATH, which names a directory of
# the other user, would run that user's code as root.
_HARMLESS = frozenset({"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "USER"})


@dataclass(frozen=True, slots=True)
class ShellProgram:
    """Text for a shell, as cron runs it. stdin: the input, or None for an empty one."""

    shell: str
    text: str
    stdin: str | None = None


@dataclass(slots=True)
class Surroundings:
    """What a program is started with.

    account: None if the user of the jobs runs it. is_untrusted: that account chose env and cwd,
    so none of them may take effect while root still runs it.
    """

    cwd: str
    env: dict[str, str]
    account: Account | None = None
    is_untrusted: bool = False
    limits: dict[str, str | int] = field(default_factory=dict)
    leave_daemons: bool = False


def build_command(
    name: str, summary: str, program: ShellProgram | Sequence[str], given: Surroundings
) -> Table:
    """Return a command definition without parameters."""
    prefix, cwd, env = _change_user(given)
    table: Table = {"name": name, "summary": summary}
    if isinstance(program, ShellProgram):
        argv = [*prefix, program.shell, "-c", program.text]
        if program.stdin is not None:
            table["shell"] = _add_input(argv, program.stdin)
        elif not prefix and program.shell == _DEFAULT_SHELL:
            # Without parameters, braces in shell text are no placeholders.
            table["shell"] = program.text
        else:
            table["argv"] = [_escape_braces(each) for each in argv]
    else:
        table["argv"] = [_escape_braces(each) for each in (*prefix, *program)]
    if cwd:
        table["cwd"] = cwd
    if given.leave_daemons:
        table["leave_daemons"] = True
    table["env"] = env
    table["limits"] = {"io": NORMAL_IO, **given.limits}
    return table


def _change_user(given: Surroundings) -> tuple[list[str], str, dict[str, str]]:
    """Return the start of the command line, the directory and the variables of a program.

    setpriv replaces itself with the program, so that signals of the queue reach it. runuser and su
    stay between the two, and open a login session.
    """
    if given.account is None:
        return [], given.cwd, given.env
    prefix = [
        _SETPRIV, "--reuid", given.account.name, "--regid", given.account.group, "--init-groups",
        "--",
    ]  # fmt: skip
    later = [name for name in given.env if given.is_untrusted or name not in _HARMLESS]
    if not later:
        return prefix, given.cwd, given.env
    # Variables are renamed and not arguments, which other users could read.
    lines = [f'export {name}="${_LATER}{name}"; unset {_LATER}{name}' for name in later]
    if given.is_untrusted:
        lines.append('cd "$HOME" || exit')
    script = "\n".join([*lines, 'exec "$@"', ""])
    env = {f"{_LATER}{name}" if name in later else name: value for name, value in given.env.items()}
    return (
        [*prefix, _DEFAULT_SHELL, "-c", script, "sh"],
        "/" if given.is_untrusted else given.cwd,
        env,
    )


def build_schedule(name: str, when: Table, facts: ImportFacts, *, zone: str = "") -> Table:
    """Return the definition of a schedule on this machine, in its time zone."""
    table: Table = {"name": name, "command": name, **when}
    if zone or facts.zone:
        table["zone"] = zone or facts.zone
    if facts.machine:
        table["where"] = facts.machine
    return table


def _add_input(argv: Sequence[str], stdin: str) -> str:
    """Return shell text that runs argv with this input, which ends with a line break."""
    lines = stdin.split("\n")
    end = "END"
    while end in lines:
        end += "_"
    return f"exec {shlex.join(argv)} <<'{end}'\n{stdin}{end}\n"


def _escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
