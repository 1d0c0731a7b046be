"""Systemd scope for a reaper: in the agent's service, a restart of the service ends all jobs."""

from __future__ import annotations

import os
import shutil
from typing import Final

_BOOTED: Final = "/run/systemd/system"


def scope_command(unit: str) -> list[str]:
    """Return the prefix of a command that runs in a scope of its own, or [] if none is needed.

    A scope is a unit of systemd for processes that something else has started (systemd.scope(5)).
    """
    # sd_booted(3)
    if not os.path.isdir(_BOOTED) or not is_in_service(_read_own_cgroup()):
        return []
    program = shutil.which("systemd-run")
    if program is None:
        return []
    manager = [] if os.geteuid() == 0 else ["--user"]
    return [
        program, *manager, "--scope", "--quiet", "--collect", f"--unit={unit}",
        "--description=Jobs of mythjobs", "--property=Delegate=yes", "--",
    ]  # fmt: skip


def is_in_service(cgroup: str) -> bool:
    """Return whether a process with this /proc/PID/cgroup belongs to a service of systemd.

    Sessions of logins are scopes: what runs there ends only if the administrator wants that
    (logind.conf(5), KillUserProcesses).
    """
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        controller, _, path = rest.partition(":")
        units = [each for each in path.split("/") if each.endswith((".service", ".scope"))]
        if controller in ("", "name=systemd") and units:
            return units[-1].endswith(".service") and not units[-1].startswith("user@")
    return False


def _read_own_cgroup() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
