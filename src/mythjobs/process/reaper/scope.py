"""Systemd scope for a reaper, so that it survives the agent's service: in the cgroup of that
service, the reaper and its jobs end whenever the service is restarted."""

from __future__ import annotations

import os
from typing import Final

from mythjobs.model.systemd import SYSTEMD_BOOTED

# Other units, such as a recorder's, have 100. The nice value of a job counts only within its unit.
_WEIGHT: Final = 20


def scope_command(unit: str) -> list[str]:
    """Return the systemd-run command that starts a program in the new scope `unit`, to which the
    program's argv is appended. Return [] if no scope is needed or systemd-run is missing.

    A scope is a unit for processes that systemd has not started itself (systemd.scope(5)).
    """
    if not os.path.isdir(SYSTEMD_BOOTED) or not is_in_service(_read_own_cgroup()):
        return []
    # Only agents call this, and it would take half a megabyte in each reaper.
    from shutil import which

    program = which("systemd-run")
    if program is None:
        return []
    manager = [] if os.geteuid() == 0 else ["--user"]
    return [
        program, *manager, "--scope", "--quiet", "--collect", f"--unit={unit}",
        "--description=Jobs of mythjobs", "--property=Delegate=yes",
        f"--property=CPUWeight={_WEIGHT}", f"--property=IOWeight={_WEIGHT}", "--",
    ]  # fmt: skip


def is_in_service(cgroup: str) -> bool:
    """Return whether a process with this content of /proc/PID/cgroup is in a service of systemd.

    Login sessions are scopes, not services: their processes end at logout only if the
    administrator has configured that (KillUserProcesses in logind.conf(5)).
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
