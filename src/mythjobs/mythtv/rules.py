"""Rules that make jobs of recordings, and their file `rules.toml`. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model.names import NAME_SYNTAX, is_short_name
from mythjobs.model.toml_values import (
    Table,
    read_choice,
    read_duration,
    read_int,
    read_size,
    read_strings,
    read_text,
)
from mythjobs.model.units import format_duration, format_size, humanize_duration, humanize_size
from mythjobs.mythtv.recording import DELETED_GROUP, LIVETV_GROUP, RECORDED, Recording

# MythTV queues neither flagging nor transcoding for such a recording (docs/mythtv.md).
TINY_BYTES: Final = 1000
SHORT_S: Final = 120.0
# Origin of rules that repeat MythTV's automatic jobs. Each of these jobs is also a row of MythTV's
# queue.
IMPORT_ORIGIN: Final = "mythtv-import"
EXCEPTIONS: Final = ("livetv", "failed", "tiny", "short")
WHEN: Final = ("finished", "started")

_KEYS: Final = (
    "name", "command", "when", "enabled", "recording_rules", "titles", "channels", "groups",
    "min_size", "max_size", "min_duration", "max_duration", "include", "commercial_free",
    "priority", "arguments", "origin",
)  # fmt: skip
_EXAMPLE: Final = 'name = "flag" and command = "mythcommflag"'


@dataclass(frozen=True)
class RecordingRule:
    """Which recordings get a job of a command; an empty condition is met by all recordings.

    when: "finished", or "started" for a job that works while the recording goes on.
    titles: expressions with `*`, not case-sensitive. channels: chanid, number or call sign.
    include: which of EXCEPTIONS get a job too. commercial_free: whether recordings of channels
    without commercials get one. origin: who wrote the rule, such as the import; kept, not used.
    """

    name: str
    command: str
    when: str = "finished"
    is_enabled: bool = True
    recording_rules: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    include: tuple[str, ...] = ()
    is_for_commercial_free: bool = True
    priority: int = 0
    arguments: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


def explain_mismatch(rule: RecordingRule, recording: Recording, when: str) -> str:
    """Return why the recording gets no job of this rule; "" if it gets one.

    when: "started" or "finished"; at the start, size and duration are not known yet.
    """
    if not rule.is_enabled:
        return "the rule is switched off"
    if rule.when != when:
        return f"the rule is for recordings that have {rule.when}"
    return (
        _explain_kind(rule, recording, when)
        or _explain_selection(rule, recording)
        or (_explain_extent(rule, recording) if when == "finished" else "")
    )


def _explain_kind(rule: RecordingRule, recording: Recording, when: str) -> str:
    group = recording.recording_group
    if group == DELETED_GROUP:
        return "the recording has been deleted"
    if group == LIVETV_GROUP and "livetv" not in rule.include:
        return "the recording is Live TV"
    if recording.is_commercial_free and not rule.is_for_commercial_free:
        return "the channel has no commercials"
    if when == "started":
        return ""
    if recording.status != RECORDED and "failed" not in rule.include:
        return f"the recording failed (status {recording.status})"
    if recording.size_bytes < TINY_BYTES and "tiny" not in rule.include:
        return f"the file has only {recording.size_bytes} bytes"
    if recording.duration_s < SHORT_S and "short" not in rule.include:
        return f"the recording is shorter than {humanize_duration(SHORT_S)}"
    return ""


def _explain_selection(rule: RecordingRule, recording: Recording) -> str:
    if rule.recording_rules and recording.recording_rule not in rule.recording_rules:
        return f"the recording is of recording rule {recording.recording_rule}"
    if rule.titles and not any(_matches(each, recording.title) for each in rule.titles):
        return "the title does not match"
    channel = (str(recording.chanid), recording.channel_number, recording.callsign)
    if rule.channels and not set(rule.channels).intersection(channel):
        return f"the channel is {recording.callsign or recording.chanid}"
    if rule.groups and recording.recording_group not in rule.groups:
        return f"the recording group is {recording.recording_group}"
    return ""


def _explain_extent(rule: RecordingRule, recording: Recording) -> str:
    size, duration_s = recording.size_bytes, recording.duration_s
    if rule.min_size_bytes is not None and size < rule.min_size_bytes:
        return f"the file is smaller ({humanize_size(size)})"
    if rule.max_size_bytes is not None and size > rule.max_size_bytes:
        return f"the file is larger ({humanize_size(size)})"
    if rule.min_duration_s is not None and duration_s < rule.min_duration_s:
        return f"the recording is shorter ({humanize_duration(duration_s)})"
    if rule.max_duration_s is not None and duration_s > rule.max_duration_s:
        return f"the recording is longer ({humanize_duration(duration_s)})"
    return ""


def _matches(pattern: str, title: str) -> bool:
    # fnmatch would treat [ and ? of a title as wildcards.
    expression = ".*".join(re.escape(each) for each in pattern.casefold().split("*"))
    return re.fullmatch(expression, title.casefold(), re.DOTALL) is not None


def parse_rules(text: str) -> list[RecordingRule]:
    """Return the rules in the text of `rules.toml`. Raises DefinitionError."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError("", str(error)) from None
    for key in given:
        if key != "rules":
            raise DefinitionError(key, "unknown key; each rule begins with a line [[rules]]")
    tables = given.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise DefinitionError("rules", f"each rule begins with a line [[rules]], then {_EXAMPLE}")
    rules = [_parse_rule(each, f"rules[{number}].") for number, each in enumerate(tables, 1)]
    names = [each.name for each in rules]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError("rules", f'two rules have the name "{name}"')
    return rules


def _parse_rule(given: Table, prefix: str) -> RecordingRule:
    for key in given:
        if key not in _KEYS:
            raise DefinitionError(prefix + key, f"unknown key; known are {', '.join(_KEYS)}")
    for key in ("name", "command"):
        if not given.get(key):
            raise DefinitionError(prefix + key, f"is missing; a rule has {_EXAMPLE}")
    name = read_text(given, "name", prefix=prefix)
    if not is_short_name(name):
        raise DefinitionError(prefix + "name", f'"{name:.50}" is invalid; use {NAME_SYNTAX}')
    for key in ("enabled", "commercial_free"):
        if not isinstance(given.get(key, True), bool):
            raise DefinitionError(prefix + key, "must be true or false")
    include = read_strings(given, "include", '["short"]', prefix)
    for each in include:
        if each not in EXCEPTIONS:
            raise DefinitionError(
                prefix + "include", f'"{each}" must be one of {", ".join(EXCEPTIONS)}'
            )
    return RecordingRule(
        name=name,
        command=read_text(given, "command", prefix=prefix),
        when=read_choice(given, "when", WHEN, "finished", prefix),
        is_enabled=given.get("enabled", True) is True,
        recording_rules=_read_numbers(given, "recording_rules", prefix),
        titles=read_strings(given, "titles", '["News*"]', prefix),
        channels=read_strings(given, "channels", '["1001"]', prefix),
        groups=read_strings(given, "groups", '["Default"]', prefix),
        min_size_bytes=read_size(given, "min_size", prefix),
        max_size_bytes=read_size(given, "max_size", prefix),
        min_duration_s=read_duration(given, "min_duration", prefix),
        max_duration_s=read_duration(given, "max_duration", prefix),
        include=include,
        is_for_commercial_free=given.get("commercial_free", True) is True,
        priority=read_int(given, "priority", -100, 100, prefix) or 0,
        arguments=_read_arguments(given, prefix),
        origin=read_text(given, "origin", prefix=prefix),
    )


def _read_numbers(given: Table, key: str, prefix: str) -> tuple[int, ...]:
    value = given.get(key, [])
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise DefinitionError(prefix + key, f"must be a list of numbers, like {key} = [7]")
    return tuple(dict.fromkeys(value))


def _read_arguments(given: Table, prefix: str) -> dict[str, str]:
    value = given.get("arguments", {})
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise DefinitionError(
            prefix + "arguments", 'must be a table of texts, like { preset = "fast" }'
        )
    return value


def format_rules(rules: Iterable[RecordingRule]) -> str:
    """Return the text of `rules.toml`, which parse_rules() reads as the same rules."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("Which recordings of MythTV get which jobs (docs/mythtv.md)."))
    tables = tomlkit.aot()
    for each in rules:
        table = tomlkit.table()
        for key, value in describe_rule(each).items():
            table[key] = value
        tables.append(table)
    document["rules"] = tables
    return tomlkit.dumps(document)


def describe_rule(rule: RecordingRule) -> dict[str, object]:
    """Return the rule's table, without keys that have their default."""
    texts: Sequence[tuple[str, object, object]] = (
        ("name", rule.name, ""),
        ("command", rule.command, ""),
        ("when", rule.when, "finished"),
        ("enabled", rule.is_enabled, True),
        ("recording_rules", list(rule.recording_rules), []),
        ("titles", list(rule.titles), []),
        ("channels", list(rule.channels), []),
        ("groups", list(rule.groups), []),
        ("min_size", format_size(rule.min_size_bytes), None),
        ("max_size", format_size(rule.max_size_bytes), None),
        ("min_duration", format_duration(rule.min_duration_s), None),
        ("max_duration", format_duration(rule.max_duration_s), None),
        ("include", list(rule.include), []),
        ("commercial_free", rule.is_for_commercial_free, True),
        ("priority", rule.priority, 0),
        ("arguments", dict(rule.arguments), {}),
        ("origin", rule.origin, ""),
    )
    return {key: value for key, value, default in texts if value != default}


def replace_rules(
    present: Iterable[RecordingRule], new: Collection[RecordingRule], origin: str
) -> list[RecordingRule]:
    """Return the rules after `new` took the place of the earlier ones of `origin`; rules that a
    user wrote stay, and keep their names. A rule that the user switched off stays so."""
    present = list(present)
    off = {each.name for each in present if each.origin == origin and not each.is_enabled}
    own = [each for each in present if each.origin != origin]
    names = {each.name for each in own}
    added = [each for each in new if each.name not in names]
    return own + [
        RecordingRule(**{**vars(each), "is_enabled": False, "origin": origin})
        if each.name in off
        else RecordingRule(**{**vars(each), "origin": origin})
        for each in added
    ]
