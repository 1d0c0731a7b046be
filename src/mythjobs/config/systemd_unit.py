"""Systemd unit of the agent: its text, its place, and how to start it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mythjobs.config import files
from mythjobs.errors import BadRequest, ConfigError, StateNotWritable
from mythjobs.model.systemd import SYSTEMD_BOOTED

UNIT_NAME: Final = "mythjobs-agent.service"
_SYSTEM_DIRECTORY: Final = Path("/etc/systemd/system")
_UNIT: Final = """\
# Written by `mythjobs agent install-service`; docs/systemd.md explains the settings.
[Unit]
Description=mythjobs agent
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target

[Service]
Type=exec
{user}ExecStart={command}
Restart=always
RestartSec=2
# Jobs go on while the service restarts, and get cgroups below its own.
KillMode=process
Delegate=yes

[Install]
WantedBy={target}
"""


def make_unit(argv: Sequence[str], *, user: str, is_system: bool) -> str:
    """Return the text of the unit. user: who runs the agent, "" for the manager's own user."""
    return _UNIT.format(
        user=f"User={user}\n" if user else "",
        command=" ".join(map(quote_argument, argv)),
        target="multi-user.target" if is_system else "default.target",
    )


def quote_argument(argument: str) -> str:
    """Return an argument as systemd reads it (systemd.service(5), "Command lines").

    Raises BadRequest for a line break, which a unit cannot have in an argument.
    """
    if "\n" in argument or "\0" in argument:
        raise BadRequest(
            f"a systemd unit cannot have the path {argument!r}; use one without line break"
        )
    escaped = argument
    for special, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        escaped = escaped.replace(special, written)
    is_plain = re.fullmatch(r"[\w@%+=:,./-]+", argument, re.ASCII)
    return escaped if is_plain else f'"{escaped}"'


def find_own_program(argv0: str) -> list[str]:
    """Return the start of a command line that runs this program again."""
    path = shutil.which(argv0) or argv0
    if os.path.basename(path) == "mythjobs" and os.access(path, os.X_OK):
        return [os.path.abspath(path)]
    return [sys.executable, "-m", "mythjobs"]


def find_unit_path(is_system: bool, environ: Mapping[str, str]) -> Path:
    """Return where the unit is written: for the system, or for this user (systemd.unit(5))."""
    if is_system:
        return _SYSTEM_DIRECTORY / UNIT_NAME
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "systemd" / "user" / UNIT_NAME


def install(path: Path, text: str, *, is_system: bool) -> None:
    """Write the unit, enable it for every boot, and start or restart it now.

    Raises ConfigError if there is no systemd or it fails, StateNotWritable.
    """
    if not os.path.isdir(SYSTEMD_BOOTED) or shutil.which("systemctl") is None:
        raise ConfigError(
            "this machine does not run systemd; start `mythjobs agent` with the program that "
            "starts its services, or print the unit with --print"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, text.encode(), 0o644)
    except OSError as error:
        raise StateNotWritable(f"cannot write {path} ({error.strerror})") from None
    for arguments in (["daemon-reload"], ["enable", UNIT_NAME], ["restart", UNIT_NAME]):
        _call_manager(arguments, is_system)


def _call_manager(arguments: Sequence[str], is_system: bool) -> None:
    command = ["systemctl", *([] if is_system else ["--user"]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        cause = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigError(
            f"`{' '.join(command)}` failed: {cause[0]}; the unit is written, so repeat that "
            "command once the cause is removed"
        )
