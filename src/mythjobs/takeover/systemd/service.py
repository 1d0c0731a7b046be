"""Service of a timer as a command: all its settings, or systemd itself starts it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from mythjobs.model.names import ENVIRONMENT_NAME
from mythjobs.model.units import format_duration
from mythjobs.takeover.entry import Account, ImportFacts, Table
from mythjobs.takeover.program import NORMAL_IO, ShellProgram, Surroundings, build_command
from mythjobs.takeover.systemd.exec_line import (
    ExecLine,
    fill_specifiers,
    parse_exec,
    split_quoted,
)
from mythjobs.takeover.systemd.time_span import parse_time_span
from mythjobs.takeover.systemd.unit_file import UnitFile

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TYPES: Final = ("", "simple", "exec", "oneshot")
_IO_CLASSES: Final = {"best-effort": "best-effort", "2": "best-effort", "idle": "idle", "3": "idle"}
# Settings that _translate() handles, or that change nothing for a job.
_SERVICE_KEYS: Final = {
    "Type", "ExecStart", "ExecStartPre", "ExecStartPost", "User", "Group", "WorkingDirectory",
    "Environment", "Nice", "IOSchedulingClass", "IOSchedulingPriority", "TimeoutStartSec",
    "TimeoutSec", "TimeoutStopSec", "RuntimeMaxSec", "MemoryMax", "TasksMax", "KillMode",
    "SuccessExitStatus", "StandardInput", "StandardOutput", "StandardError", "SyslogIdentifier",
    "SyslogLevel", "RemainAfterExit", "Restart",
}  # fmt: skip
_UNIT_KEYS: Final = {
    "Description", "Documentation", "After", "Before", "Wants", "DefaultDependencies",
    "SourcePath",
}  # fmt: skip
_OUTPUTS: Final = ("", "inherit", "journal", "syslog", "journal+console", "kmsg")
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)")
_STOPPED_BY_SIGNAL: Final = 143


class ServiceCommand(NamedTuple):
    """Definition of a service's command. obstacle: the setting because of which systemd starts the
    service, "" if the queue starts its program."""

    command: Table
    obstacle: str


def translate_service(
    name: str,
    service: UnitFile,
    account: Account,
    specifiers: Mapping[str, str],
    facts: ImportFacts,
    *,
    is_user_manager: bool,
) -> ServiceCommand:
    """Return the command of a service.

    If the service has a setting that a job cannot have, the job is `systemctl start --wait`.
    """
    summary = service.value("Unit", "Description") or service.name
    with suppress(ValueError):  # an unknown specifier
        summary = fill_specifiers(summary, specifiers)
    try:
        program, given = _translate(service, account, specifiers, facts, is_user_manager)
        codes = _read_success(service)
    except ValueError as error:
        runtime = specifiers["t"] if is_user_manager else ""
        return ServiceCommand(_build_start(name, summary, service, runtime), str(error))
    command = build_command(name, summary, program, given)
    if codes:
        command["success"] = codes
    return ServiceCommand(command, "")


def _build_start(name: str, summary: str, service: UnitFile, runtime: str) -> Table:
    """Return a command that lets systemd run the service; a stop of the job stops it, too.

    runtime: runtime directory of the user's manager, "" for that of the system.
    """
    unit = shlex.quote(service.name)
    systemctl = "systemctl --user" if runtime else "systemctl"
    # The start of a oneshot service ends with its program. --wait, which others need, works only
    # where D-Bus runs.
    wait = "" if service.value("Service", "Type") == "oneshot" else " --wait"
    table: Table = {
        "name": name,
        "summary": summary,
        "shell": f"trap '{systemctl} stop {unit}; exit {_STOPPED_BY_SIGNAL}' TERM\n"
        f"{systemctl} start{wait} {unit} &\n"
        "wait $!\n",
        "limits": {"io": NORMAL_IO},
    }
    if runtime:
        table["env"] = {"XDG_RUNTIME_DIR": runtime}
    return table


def _translate(
    service: UnitFile,
    account: Account,
    specifiers: Mapping[str, str],
    facts: ImportFacts,
    is_user_manager: bool,
) -> tuple[ShellProgram | tuple[str, ...], Surroundings]:
    """Return program and surroundings. Raises ValueError with a setting that no job can have."""
    _refuse_unknown(service)
    env = _build_environment(service, account, specifiers, facts)
    kind = service.value("Service", "Type")
    given = Surroundings(
        cwd=_read_directory(service, account, specifiers, is_user_manager),
        env=env,
        account=None if account.name == facts.runner else account,
        limits=_read_limits(service, kind),
        leave_daemons=service.value("Service", "KillMode") in ("process", "none"),
    )
    groups = service.value("Service", "Group")
    if groups not in ("", account.group):
        raise ValueError(f"Group={groups}")

    lines = {
        key: [parse_exec(each, specifiers, env.get) for each in service.values("Service", key)]
        for key in ("ExecStartPre", "ExecStart", "ExecStartPost")
    }
    if not lines["ExecStart"]:
        raise ValueError("no ExecStart=")
    steps = [each for key in lines for each in lines[key]]
    for step in steps:
        if "@" in step.prefixes or (set(step.prefixes) & set("+!|") and account.name != "root"):
            raise ValueError(f"the prefix {step.prefixes} of {step.argv[0]}")
    if len(steps) == 1 and "-" not in steps[0].prefixes:
        return steps[0].argv, given
    return ShellProgram("/bin/sh", " && \\\n".join(map(_format_step, steps)) + "\n"), given


def _format_step(step: ExecLine) -> str:
    line = shlex.join(step.argv)
    return f"{{ {line} || :; }}" if "-" in step.prefixes else line


def _refuse_unknown(service: UnitFile) -> None:
    for section, known in (("Service", _SERVICE_KEYS), ("Unit", _UNIT_KEYS)):
        for key in service.keys(section):
            if key not in known:
                raise ValueError(f"{key}=")
    for each in " ".join(service.values("Unit", "Wants")).split():
        if not each.endswith(".target"):
            raise ValueError(f"Wants={each}")
    kind = service.value("Service", "Type")
    if kind not in _TYPES:
        raise ValueError(f"Type={kind}")
    if service.flag("Service", "RemainAfterExit"):
        raise ValueError("RemainAfterExit=")
    for key, allowed in (
        ("Restart", ("", "no")),
        ("KillMode", ("", "control-group", "mixed", "process", "none")),
        ("StandardInput", ("", "null")),
        ("StandardOutput", _OUTPUTS),
        ("StandardError", _OUTPUTS),
    ):
        value = service.value("Service", key)
        if value not in allowed:
            raise ValueError(f"{key}={value}")


def _build_environment(
    service: UnitFile, account: Account, specifiers: Mapping[str, str], facts: ImportFacts
) -> dict[str, str]:
    env: dict[str, str] = {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        **{key: facts.environment[key] for key in ("LANG", "LC_ALL") if key in facts.environment},
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
    }
    for line in service.values("Service", "Environment"):
        for part, _ in split_quoted(line):
            key, equals, value = fill_specifiers(part, specifiers).partition("=")
            if not equals or not ENVIRONMENT_NAME.fullmatch(key) or key.startswith("MYTHJOBS_"):
                raise ValueError(f"Environment={part}")
            env[key] = value
    return env


def _read_directory(
    service: UnitFile, account: Account, specifiers: Mapping[str, str], is_user_manager: bool
) -> str:
    value = fill_specifiers(service.value("Service", "WorkingDirectory"), specifiers)
    if value.startswith("-"):
        raise ValueError("WorkingDirectory=-")
    if value == "~" or (not value and is_user_manager):
        return account.home
    return value or "/"


def _read_limits(service: UnitFile, kind: str) -> dict[str, str | int]:
    limits = dict[str, str | int]()
    wall = service.value("Service", "RuntimeMaxSec")
    if kind == "oneshot":
        # While a oneshot service runs, systemd is still starting it.
        wall = service.value("Service", "TimeoutStartSec") or service.value("Service", "TimeoutSec")
    _add_time(limits, "wall", wall)
    grace = service.value("Service", "TimeoutStopSec") or service.value("Service", "TimeoutSec")
    _add_time(limits, "grace", grace)
    nice = service.value("Service", "Nice")
    if nice:
        if not nice.isdecimal() or int(nice) > 19:
            raise ValueError(f"Nice={nice}")
        limits["nice"] = int(nice)
    io = service.value("Service", "IOSchedulingClass")
    level = service.value("Service", "IOSchedulingPriority") or "4"
    if io:
        if io not in _IO_CLASSES or level not in tuple("01234567"):
            raise ValueError(f"IOSchedulingClass={io}")
        limits["io"] = "idle" if _IO_CLASSES[io] == "idle" else f"best-effort:{level}"
    elif level != "4":
        limits["io"] = f"best-effort:{level}"
    memory = service.value("Service", "MemoryMax")
    if memory and memory != "infinity":
        found = _SIZE.fullmatch(memory)
        if found is None:
            raise ValueError(f"MemoryMax={memory}")
        limits["memory"] = f"{found[1]}{found[2]}iB" if found[2] else f"{found[1]}B"
    tasks = service.value("Service", "TasksMax")
    if tasks and tasks != "infinity":
        if not tasks.isdecimal():
            raise ValueError(f"TasksMax={tasks}")
        limits["processes"] = int(tasks)
    return limits


def _read_success(service: UnitFile) -> list[int]:
    """Return the exit codes that mean success; [] for only 0. Signals are not supported."""
    given = " ".join(service.values("Service", "SuccessExitStatus")).split()
    for each in given:
        if not each.isdecimal() or int(each) > 255:
            raise ValueError(f"SuccessExitStatus={each}")
    return sorted({0, *map(int, given)}) if given else []


def _add_time(limits: dict[str, str | int], key: str, text: str) -> None:
    seconds = parse_time_span(text) if text else 0.0
    # 0 is no limit for systemd, as infinity.
    if 0 < seconds < float("inf"):
        limits[key] = format_duration(seconds) or ""
