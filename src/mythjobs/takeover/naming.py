"""Names of commands, made from the programs that they run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os.path import basename
from typing import Final

from mythjobs.model.command import RUN
from mythjobs.model.names import MAX_NAME_LENGTH, is_short_name
from mythjobs.takeover.entry import PlanEntry

# Programs that run another one, whose name is more useful.
_WRAPPERS: Final = {
    "bash", "chronic", "chrt", "command", "cronic", "dash", "echo", "env", "eval", "exec",
    "flock", "ionice", "ksh", "nice", "node", "nohup", "perl", "php", "printf", "python",
    "python2", "python3", "ruby", "runuser", "setpriv", "setsid", "sh", "su", "sudo", "systemctl",
    "systemd-cat", "time", "timeout", "zsh",
}  # fmt: skip
# Programs and options that an operand follows: `flock FILE PROGRAM`, `sudo -u USER PROGRAM`.
_WITH_OPERAND: Final = {"flock", "timeout", "-u", "-g"}
# Words that begin a command without a name of its own.
_TESTS: Final = {
    "!",
    ".",
    ":",
    "[",
    "cd",
    "exit",
    "export",
    "sleep",
    "source",
    "test",
    "true",
    "umask",
}
_RUN_PARTS: Final = re.compile(r"\brun-parts\s.*/(cron\.\w+)")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9_.,/~@+-]+")
_SEPARATOR: Final = re.compile(r"\s*(?:&&|\|\||;|\||\n|&|\bthen\b|\bif\b|\{\s|(?<!\$)\(\s?)\s*")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_FILE_SUFFIX: Final = re.compile(r"\.(?:sh|bash|py|pl|php|rb|js)\Z")
_NOT_NAME: Final = re.compile(r"[^a-z0-9]+")
_FALLBACK: Final = "job"


def derive_name(text: str) -> str:
    """Return a valid name for a command line, like `backup` for `cd / && /opt/backup.sh -q`."""
    directory = _RUN_PARTS.search(text)
    if directory:
        return clean_name(directory[1])
    fallback = ""
    for part in _SEPARATOR.split(text):
        is_operand = False
        for each in part.split():
            stripped = each.strip("\"'(){}[]`")
            name = basename(stripped)
            if is_operand and not stripped.startswith("-"):
                is_operand = False
                continue
            if name in _TESTS:
                # What follows is a file or a value, no program.
                break
            is_operand = is_operand or name in _WITH_OPERAND
            if stripped.startswith("-") or stripped.isdecimal() or _ASSIGNMENT.match(stripped):
                continue
            if name in _WRAPPERS:
                fallback = fallback or name
                continue
            if not _PROGRAM.fullmatch(stripped):
                break
            return clean_name(_FILE_SUFFIX.sub("", name))
    return clean_name(fallback or _FALLBACK)


def clean_name(text: str) -> str:
    """Return the text as a name: small letters and digits, joined by dashes."""
    name = _NOT_NAME.sub("-", text.lower()).strip("-")
    if name[:1].isdecimal():
        name = f"{_FALLBACK}-{name}"
    name = name[: MAX_NAME_LENGTH - 4].strip("-")
    return name if is_short_name(name) and name != RUN else f"{name or _FALLBACK}-{_FALLBACK}"


@dataclass(frozen=True, slots=True)
class ImportedNames:
    """Names in the queue. taken: of commands and schedules. imported: by the entry's id, the names
    of those that were imported. kept: the same for those whose import was interrupted."""

    taken: frozenset[str] = frozenset()
    imported: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)


def choose_names(entries: Iterable[PlanEntry], names: ImportedNames) -> list[PlanEntry]:
    """Return the entries with different names: `backup`, `backup-2`."""
    used = set(names.taken) - set(names.kept.values())
    found = []
    for each in entries:
        imported_as = names.imported.get(each.place.id)
        if imported_as:
            each = each.skipped(f"imported as {imported_as}")
        elif each.is_imported:
            wanted = names.kept.get(each.place.id, each.name)
            name, number = wanted, 2
            while name in used:
                name, number = f"{wanted}-{number}", number + 1
            used.add(name)
            each = each.renamed(name)
        found.append(each)
    return found
