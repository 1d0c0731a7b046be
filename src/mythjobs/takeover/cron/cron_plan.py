"""Plan of a crontab: each entry as a command and a schedule, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os.path import basename
from typing import Final

from mythjobs.model.names import ENVIRONMENT_NAME
from mythjobs.takeover.cron.crontab import REBOOT, CronLine, InvalidLine, parse_crontab
from mythjobs.takeover.entry import Account, ImportFacts, ImportMark, Place, PlanEntry, Table
from mythjobs.takeover.naming import clean_name, derive_name
from mythjobs.takeover.program import ShellProgram, Surroundings, build_command, build_schedule
from mythjobs.takeover.refusals import refuse_text, refuse_user

# Settings of cron, which are no variables of the program.
_FOR_CRON: Final = ("MAILTO", "MAILFROM", "RANDOM_DELAY", "START_HOURS_RANGE", "CRON_TZ")
_CRON_PATH: Final = "/usr/bin:/bin"
# Debian's cron ignores a file with an invalid line; cronie and systemd-cron ignore that line.
_DEBIAN_CRON: Final = "/usr/sbin/cron"
# `test -x FILE || …` and `[ -d DIRECTORY ] || …`: the rest runs only if the file is missing.
_GUARD: Final = re.compile(r"(?:test\s+-[a-z]\s+(/\S+)|\[\s+-[a-z]\s+(/\S+)\s+\])\s*\|\|")
_STARTS_ANACRON: Final = re.compile(r"(?:/usr/sbin/anacron|invoke-rc\.d\s+anacron)\b")


@dataclass(frozen=True, slots=True)
class Crontab:
    """Text of a crontab and where it is from.

    kind, name: of `Place`. user: owner of a user's crontab, "" for files with a user field. path:
    for messages. problem: why cron ignores the whole file, or "". unreadable: why this program
    cannot read it, or "".
    """

    kind: str
    name: str
    path: str
    text: str
    user: str = ""
    problem: str = ""
    unreadable: str = ""


def plan_crontab(crontab: Crontab, facts: ImportFacts) -> Iterator[PlanEntry]:
    """Yield an entry for each line with a command, in their order. Names may be equal. A file that
    cannot be read is one entry."""
    if crontab.unreadable:
        place = Place(crontab.kind, crontab.name)
        yield PlanEntry(place, 0, "", "", crontab.user, ImportMark.DECIDE, (crontab.unreadable,))
    lines = list(parse_crontab(crontab.text, is_system=not crontab.user, is_cronie=facts.is_cronie))
    refused = list[InvalidLine]()
    if facts.exists(_DEBIAN_CRON):
        refused = [each for each in lines if isinstance(each, InvalidLine) and each.is_refused]
    seen: dict[str, int] = {}
    for line in lines:
        occurrence = seen.get(line.raw, 0)
        seen[line.raw] = occurrence + 1
        place = Place(crontab.kind, crontab.name, line.raw, occurrence)
        if isinstance(line, InvalidLine):
            entry = PlanEntry(
                place, line.number, "", line.raw, crontab.user, ImportMark.DECIDE, (line.why,)
            )
        else:
            entry = _plan_line(line, place, crontab, facts)
        problem = crontab.problem
        if refused and not isinstance(line, InvalidLine):
            problem = problem or f"its line {refused[0].number} is invalid"
        if problem and entry.mark is not ImportMark.SKIPPED:
            entry = entry.skipped(f"cron ignores this file: {problem}")
        yield entry


def _plan_line(line: CronLine, place: Place, crontab: Crontab, facts: ImportFacts) -> PlanEntry:
    user = line.user or crontab.user
    entry = PlanEntry(place, line.number, line.written, line.text, user, ImportMark.EXACT)
    if line.disabled_as:
        return entry.skipped(f"taken over as {line.disabled_as}")
    tested = find_tested_file(line.text, facts)
    if tested:
        return entry.skipped(f"does nothing here, because {tested} exists")
    if _STARTS_ANACRON.search(_GUARD.sub("", line.text, count=1)):
        return entry.skipped("starts anacron, whose jobs are entries of their own")
    if line.when == REBOOT:
        return entry.skipped(
            "runs at the start of the machine, which no schedule does; leave it to cron, or write "
            "a service of systemd",
            ImportMark.DECIDE,
        )
    refusal = refuse_user(user, facts) or refuse_text(line.raw, line.settings)
    if refusal:
        return entry.skipped(refusal, ImportMark.DECIDE)
    reasons = list(_find_differences(line, user, facts))
    name = _choose_name(line, crontab)
    command = build_cron_command(
        name,
        f"{crontab.path} line {line.number}",
        ShellProgram(line.settings.get("SHELL") or "/bin/sh", line.text, line.stdin),
        build_cron_environment(line.settings, facts.accounts[user], facts),
        facts.accounts[user],
        facts,
    )
    zone = line.settings.get("CRON_TZ", "") if facts.is_cronie else ""
    schedule = build_schedule(name, {"cron": line.when}, facts, zone=zone)
    # As cron does: a run starts beside an earlier one, and missed runs are not made up for.
    schedule |= {"overlap": "allow", "catch_up": "skip"}
    delay_min = int_or_zero(line.settings.get("RANDOM_DELAY", "")) if facts.is_cronie else 0
    if delay_min:
        schedule["spread"] = f"{delay_min}m"
    return PlanEntry(
        place, line.number, line.written, line.text, user,
        ImportMark.DIFFERENT if reasons else ImportMark.EXACT, tuple(reasons), name, command,
        schedule, find_mail_address(line.settings, user, facts),
    )  # fmt: skip


def find_tested_file(text: str, facts: ImportFacts) -> str:
    """Return the file whose existence makes the shell text do nothing, or ""."""
    found = _GUARD.match(text.strip())
    path = (found[1] or found[2]) if found else ""
    return path if path and facts.exists(path) else ""


def _find_differences(line: CronLine, user: str, facts: ImportFacts) -> Iterator[str]:
    settings = line.settings
    address = find_mail_address(settings, user, facts)
    if address:
        yield describe_mail(address)
    if "CRON_TZ" in settings and not facts.is_cronie:
        yield "CRON_TZ is kept out, because this cron ignores it: the time stays local"
    if facts.is_cronie and int_or_zero(settings.get("RANDOM_DELAY", "")):
        yield "RANDOM_DELAY becomes spread: the delay is drawn again for each run"
    unusable = [each for each in settings if not ENVIRONMENT_NAME.fullmatch(each)]
    if unusable:
        yield f"without the variable {unusable[0]}, whose name a definition cannot have"


def find_mail_address(settings: Mapping[str, str], user: str, facts: ImportFacts) -> str:
    """Return the address to which cron mails the output, "" if it mails nothing."""
    return settings.get("MAILTO", user) if facts.has_mailer else ""


def describe_mail(address: str) -> str:
    return (
        f"cron mails its output to {address}; here it is kept (`mythjobs log`), and `mythjobs "
        "notify` tells of failures"
    )


def int_or_zero(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _choose_name(line: CronLine, crontab: Crontab) -> str:
    name = derive_name(line.text)
    # Files of /etc/cron.d are named after what they do.
    if name == "job" and not crontab.user and crontab.kind == "file":
        return clean_name(basename(crontab.path))
    return name


def build_cron_environment(
    settings: Mapping[str, str], account: Account, facts: ImportFacts
) -> dict[str, str]:
    """Return the variables that cron sets, in the order in which later ones win."""
    env = {
        **facts.environment,
        "PATH": _CRON_PATH,
        "SHELL": "/bin/sh",
        "HOME": account.home,
        **{
            name: value
            for name, value in settings.items()
            if ENVIRONMENT_NAME.fullmatch(name) and name not in _FOR_CRON
        },
        # Cron ignores a value of these in the crontab.
        "LOGNAME": account.name,
        "USER": account.name,
    }
    # The locale of a cron job is C unless a file sets it; jobs of the queue have the agent's.
    env.setdefault("LANG", "C")
    return env


def build_cron_command(
    name: str,
    summary: str,
    program: ShellProgram,
    env: dict[str, str],
    account: Account,
    facts: ImportFacts,
) -> Table:
    """Return the definition of a command that runs as cron runs it."""
    return build_command(
        name,
        summary,
        program,
        Surroundings(
            cwd=env["HOME"] if env["HOME"].startswith("/") else "/",
            env=env,
            account=None if account.name == facts.runner else account,
            is_untrusted=True,
            # Cron does not end what a program leaves in the background.
            leave_daemons=True,
        ),
    )
