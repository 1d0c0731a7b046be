"""Rights, run windows and limits of MythTV's hosts, as settings of machines. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from mythjobs.model.machine_policy import Rights, policy_from_table, policy_to_table, read_rights
from mythjobs.mythtv.importer.command_definitions import ImportNote
from mythjobs.mythtv.importer.installation import MythInstallation

Table = dict[str, Any]

_ALLOW: Final = {
    "metadata": "JobAllowMetadata",
    "commflag": "JobAllowCommFlag",
    "transcode": "JobAllowTranscode",
    "userjob1": "JobAllowUserJob1",
    "userjob2": "JobAllowUserJob2",
    "userjob3": "JobAllowUserJob3",
    "userjob4": "JobAllowUserJob4",
}
# Of JobQueueCPU: low, medium, high.
_PRIORITIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "0": {"nice": 17, "io": "idle"},
    "1": {"nice": 10},
    "2": {},
}
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})")
_ALWAYS: Final = ("00:00", "23:59")


class HostPolicy:
    """What MythTV allows on one host: commands allowed and denied, their run windows and limits,
    and the number of jobs; None leaves the machine's own number."""

    def __init__(self) -> None:
        self.allow: set[str] = set()
        self.deny: set[str] = set()
        self.windows: list[str] = []
        self.limits: Mapping[str, Any] = {}
        self.jobs: int | None = None


def read_host_policy(
    found: MythInstallation, host: str, commands: Mapping[str, str], notes: list[ImportNote]
) -> HostPolicy:
    """Return the policy of a host. commands: the command of each of MythTV's jobs (`transcode-27`
    follows JobAllowTranscode)."""
    settings = found.hosts[host]
    policy = HostPolicy()
    for job, command in commands.items():
        setting = _ALLOW[job.partition("-")[0]]
        value = settings.get(setting.lower())
        if value is None and job.startswith("userjob"):
            notes.append(
                ImportNote(
                    f"{setting} on {host}",
                    f"has no value: MythTV's queue runs the job there, its set-up shows it as not "
                    f"allowed. Not allowed; see `mythjobs machine allow {host.lower()} {command}`",
                )
            )
        is_allowed = value not in ("", "0") if value is not None else not job.startswith("userjob")
        (policy.allow if is_allowed else policy.deny).add(command)
    _read_window(settings, host, policy, notes)
    policy.limits = _PRIORITIES.get(settings.get("jobqueuecpu", "0").strip(), _PRIORITIES["0"])
    _read_jobs(settings, host, policy, notes)
    return policy


def _read_window(
    settings: Mapping[str, str], host: str, policy: HostPolicy, notes: list[ImportNote]
) -> None:
    start = _clean_time(settings.get("jobqueuewindowstart", ""), _ALWAYS[0])
    end = _clean_time(settings.get("jobqueuewindowend", ""), _ALWAYS[1])
    if (start, end) == _ALWAYS:
        return
    if start == end:
        policy.deny |= policy.allow
        policy.allow = set()
        notes.append(
            ImportNote(
                f"JobQueueWindowStart on {host}",
                f"start and end are both {start}: MythTV never starts a job there, so no command "
                "is allowed",
            )
        )
        return
    # MythTV's end is exclusive, so 23:59 excludes the last minute of the day.
    policy.windows = [f"{start}-{'24:00' if end == _ALWAYS[1] and start < end else end}"]


def _clean_time(text: str, default: str) -> str:
    found = _TIME.fullmatch(text.strip())
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        return default
    return f"{int(found[1]):02d}:{found[2]}"


def _read_jobs(
    settings: Mapping[str, str], host: str, policy: HostPolicy, notes: list[ImportNote]
) -> None:
    text = settings.get("jobqueuemaxsimultaneousjobs", "").strip()
    if not text.isdecimal():
        return
    if int(text) == 0:
        notes.append(
            ImportNote(
                f"JobQueueMaxSimultaneousJobs on {host}",
                "is 0, which switches MythTV's own queue off (also by `mythtv takeover on`); the "
                "machine keeps its own number of jobs",
            )
        )
        return
    policy.jobs = int(text)


def describe_host_policy(host: HostPolicy) -> Table:
    """Return what an import made of a host, for the next import (`before` of merge_policy())."""
    return {
        "allow": sorted(host.allow),
        "deny": sorted(host.deny),
        "windows": list(host.windows),
        "limits": dict(host.limits),
        "jobs": host.jobs,
    }


def merge_policy(
    present: Table, host: HostPolicy, owned: Collection[str], before: Table | None = None
) -> Table:
    """Return a machine's settings with those of its MythTV host.

    Only the commands of MythTV's jobs (`owned`) are changed, and the number of jobs, if the owner
    has set none. before: what the last import made; what differs from it was changed by the owner,
    and stays.
    """
    merged = copy.deepcopy(present)
    rights = read_rights(merged.get("allow"))
    kept = {
        each
        for each in owned
        if before is not None
        and each in (*before["allow"], *before["deny"])
        and rights.allows(each) != (each in before["allow"])
    }
    rights = rights.with_changes(
        allow=frozenset(host.allow - kept), deny=frozenset(host.deny - kept)
    )
    merged["allow"] = _describe(rights)
    if host.jobs is not None and merged.get("jobs") in (None, before["jobs"] if before else None):
        merged["jobs"] = host.jobs
    tables = merged.setdefault("commands", {})
    for name in owned:
        table = {each: value for each, value in tables.get(name, {}).items() if each != "allow"}
        if name in host.allow:
            _merge_table(table, host, before)
        tables[name] = table
        if not any(table.values()):
            del tables[name]
    # Parsed and written again, so that equal settings are equal tables.
    return policy_to_table(policy_from_table(merged, known_zone=False))


def _merge_table(table: Table, host: HostPolicy, before: Table | None) -> None:
    limits = dict(table.get("limits", {}))
    for key in ("nice", "io"):
        if before is None or limits.get(key) == before["limits"].get(key):
            limits.pop(key, None)
            if key in host.limits:
                limits[key] = host.limits[key]
    table["limits"] = limits
    windows = dict(_as_table(table.get("windows")))
    if before is None or list(windows.get("open", [])) == before["windows"]:
        windows.pop("open", None)
        if host.windows:
            windows["open"] = list(host.windows)
    table["windows"] = windows


def _as_table(windows: Any) -> Table:
    return windows if isinstance(windows, dict) else {}


def _describe(rights: Rights) -> object:
    if rights.mode == "all":
        return "all"
    names = sorted(rights.commands)
    return names if rights.mode == "listed" else {"except": names}
