"""Plan of an import: definitions, machine settings, rules, schedules, and what is not translated.
Pure: the same installation gives the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mythjobs.mythtv.importer.command_definitions import (
    USERJOBS,
    ImportNote,
    JobDefinition,
    define_commands,
)
from mythjobs.mythtv.importer.installation import TEMPLATE, MythInstallation
from mythjobs.mythtv.importer.machine_policies import HostPolicy, read_host_policy
from mythjobs.mythtv.rules import IMPORT_ORIGIN, RecordingRule

Table = dict[str, Any]

ORIGIN: Final = IMPORT_ORIGIN
_EVEN_SHORT: Final = ("failed", "tiny", "short")
_PAUSED: Final = "MythTV's own housekeeper still does this; switch it off there, then resume"


@dataclass(frozen=True)
class ImportPlan:
    """commands: the command of each of MythTV's jobs, for the bridge. policies: by MythTV host.
    schedules: definitions, added paused, because MythTV's housekeeper runs the same programs."""

    definitions: list[JobDefinition]
    commands: Mapping[str, str]
    policies: Mapping[str, HostPolicy]
    rules: list[RecordingRule]
    schedules: list[Table]
    pause_reason: str
    notes: list[ImportNote] = field(default_factory=list)


def plan_import(found: MythInstallation) -> ImportPlan:
    notes: list[ImportNote] = []
    definitions = define_commands(found, notes)
    commands = {each.job: str(each.table["name"]) for each in definitions if each.job}
    policies = {
        host: read_host_policy(found, host, commands, notes) for host in sorted(found.hosts)
    }
    rules = _plan_rules(found, commands, notes)
    schedules = _plan_schedules(found, {each.table["name"] for each in definitions}, notes)
    _note_settings(found, notes)
    return ImportPlan(definitions, commands, policies, rules, schedules, _PAUSED, notes)


def _plan_rules(
    found: MythInstallation, commands: Mapping[str, str], notes: list[ImportNote]
) -> list[RecordingRule]:
    """Return one rule for each command that recording rules start, in MythTV's order."""
    recording_rules = [each for each in found.rules if each.type != TEMPLATE]
    wanted: dict[str, list[int]] = {}

    def collect(job: str, rule: int) -> None:
        wanted.setdefault(job, []).append(rule)

    for rule in recording_rules:
        if rule.metadata:
            collect("metadata", rule.id)
        if rule.commflag:
            collect("commflag", rule.id)
        if rule.transcode:
            job = f"transcode-{rule.transcoder}"
            collect(job if job in commands else "transcode", rule.id)
        for job, is_on in zip(USERJOBS, rule.userjobs, strict=True):
            if is_on:
                collect(job, rule.id)
    transcodes = [each for each in wanted if each.startswith("transcode")]
    middle = ["commflag", *transcodes]
    if found.is_on("AutoTranscodeBeforeAutoCommflag"):
        middle = [*transcodes, "commflag"]
    planned = []
    for job in ("metadata", *middle, *USERJOBS):
        if job not in wanted:
            continue
        if job not in commands:
            notes.append(
                ImportNote(
                    f"automatic {job}",
                    f"{len(wanted[job])} recording rules start it, but it is not imported",
                    lost=True,
                )
            )
            continue
        planned.append(_make_rule(found, job, commands[job], wanted[job]))
    if not recording_rules:
        notes.append(ImportNote("recording rules", "there is none, so no job starts by itself"))
    elif not planned:
        notes.append(ImportNote("recording rules", "none starts a job"))
    return planned


def _make_rule(
    found: MythInstallation, job: str, command: str, recording_rules: list[int]
) -> RecordingRule:
    # MythTV neither flags nor transcodes short, tiny and failed recordings; other jobs stay.
    is_dropped = job.startswith(("commflag", "transcode"))
    is_live = job == "commflag" and found.is_on("AutoCommflagWhileRecording")
    return RecordingRule(
        name=command,
        command=command,
        when="started" if is_live else "finished",
        recording_rules=tuple(recording_rules),
        include=() if is_dropped else _EVEN_SHORT,
        is_for_commercial_free=job != "commflag",
        origin=ORIGIN,
    )


def _plan_schedules(
    found: MythInstallation, commands: set[str], notes: list[ImportNote]
) -> list[Table]:
    schedules: list[Table] = []
    # MythTV's default is to fill the guide.
    is_filled = found.settings.get("mythfillenabled", "1") not in ("", "0")
    if is_filled and "mythtv-mythfilldatabase" in commands:
        schedules.append(
            {
                "name": "mythtv-mythfilldatabase",
                "command": "mythtv-mythfilldatabase",
                "summary": "Update MythTV's guide once a day",
                "between": _fill_hours(found),
            }
        )
        if found.is_on("MythFillGrabberSuggestsTime"):
            notes.append(
                ImportNote(
                    "MythFillGrabberSuggestsTime",
                    "the grabber cannot suggest the time of the next run; it is once a day",
                )
            )
    if found.is_on("DailyArtworkUpdates"):
        schedules.append(
            {
                "name": "mythtv-artwork",
                "command": "mythtv-artwork",
                "summary": "Refresh the artwork of MythTV's recordings once a day",
                "between": "00:00-24:00",
            }
        )
    if found.is_on("HardwareProfileEnabled"):
        notes.append(ImportNote("HardwareProfileEnabled", "stays a task of MythTV's housekeeper"))
    return schedules


def _fill_hours(found: MythInstallation) -> str:
    first = _parse_hour(found.text("MythFillMinHour"))
    last = _parse_hour(found.text("MythFillMaxHour"))
    if first is None or last is None:
        return "00:00-24:00"
    # MythTV's last hour ends at its half.
    return f"{first:02d}:00-{last:02d}:30"


def _parse_hour(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) < 24 else None


def _note_settings(found: MythInstallation, notes: list[ImportNote]) -> None:
    days = found.text("DeferAutoTranscodeDays")
    if days not in ("", "0"):
        notes.append(
            ImportNote(
                "DeferAutoTranscodeDays",
                f"transcodes are not deferred by {days} days; give their commands run windows",
            )
        )
    if found.is_on("JobsRunOnRecordHost"):
        notes.append(
            ImportNote(
                "JobsRunOnRecordHost",
                "jobs may run on every machine that is allowed; add the recordings' directories to "
                "`files` of the machine that has them, which is then preferred",
            )
        )
    templates = [each for each in found.rules if each.type == TEMPLATE and each.has_jobs]
    if templates:
        notes.append(
            ImportNote(
                "rule templates",
                "automatic jobs of a template apply to rules that MythTV makes from it: import "
                "again after you add rules",
            )
        )
