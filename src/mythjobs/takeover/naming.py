"""Names of commands, made from the programs that they run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from os.path import basename
from typing import Final

from mythjobs.model.command import RUN
from mythjobs.model.names import MAX_NAME_LENGTH, is_short_name
from mythjobs.takeover.entry import PlanEntry

# Programs that run another one, and shell syntax before a command: the name of what follows is
# more useful.
_WRAPPERS: Final = {
    "cd", "test", "[", "!", "if", "then", "{", "(", ":", "exec", "nohup", "nice", "ionice",
    "chrt", "env", "sudo", "setsid", "time", "command", "sh", "bash", "dash", "ksh", "zsh",
    "python", "python2", "python3", "perl", "php", "ruby", "node", "timeout", "flock", "chronic",
    "systemd-cat", "sleep", "umask", "export", ".", "source", "eval", "setpriv", "runuser", "su",
    "cronic", "systemctl", "true", "echo",
}  # fmt: skip
_SEPARATOR: Final = re.compile(r"\s*(?:&&|\|\||;|\||\n|&)\s*")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_FILE_SUFFIX: Final = re.compile(r"\.(?:sh|bash|py|pl|php|rb|js)\Z")
_NOT_NAME: Final = re.compile(r"[^a-z0-9]+")
_FALLBACK: Final = "job"


def derive_name(text: str) -> str:
    """Return a valid name for a command line, like `backup` for `cd / && /opt/backup.sh -q`."""
    directory = re.search(r"\brun-parts\s.*?(/\S*/)?(cron\.\w+)", text)
    if directory:
        return clean_name(directory[2])
    for part in _SEPARATOR.split(text):
        for each in part.split():
            stripped = each.strip("\"'(){}[]`")
            name = basename(stripped)
            if (
                not name
                or name in _WRAPPERS
                or stripped.startswith(("-", "$", ">", "<", "!"))
                or stripped.isdecimal()
                or _ASSIGNMENT.match(stripped)
            ):
                continue
            # The first argument of cd, test and the like names a file, not a program.
            if part.split()[0] in ("cd", "test", "[", ".", "source", "sleep", "umask", "export"):
                break
            return clean_name(_FILE_SUFFIX.sub("", name))
    return _FALLBACK


def clean_name(text: str) -> str:
    """Return the text as a name: small letters and digits, joined by dashes."""
    name = _NOT_NAME.sub("-", text.lower()).strip("-")
    if name[:1].isdecimal():
        name = f"{_FALLBACK}-{name}"
    name = name[: MAX_NAME_LENGTH - 4].strip("-")
    return name if is_short_name(name) and name != RUN else f"{name or _FALLBACK}-{_FALLBACK}"


def number_names(entries: Iterable[PlanEntry], taken: Iterable[str]) -> list[PlanEntry]:
    """Return the entries with different names: `backup`, `backup-2`. `taken` cannot be used."""
    used = set(taken)
    found = []
    for each in entries:
        if each.is_imported:
            name, number = each.name, 2
            while name in used:
                name, number = f"{each.name}-{number}", number + 1
            used.add(name)
            each = each.renamed(name) if name != each.name else replace(each)
        found.append(each)
    return found
