"""Templates with placeholders `{name}`. Values are inserted as they are: no shell, no splitting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from mythjobs.model.names import PARAMETER_NAME

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{(" + PARAMETER_NAME.pattern + r")\}|[{}]")


class TemplateError(ValueError):
    """A brace in a template is neither part of a placeholder `{name}` nor doubled."""


class Template:
    """An element of argv (or a subject), split at its placeholders.

    `{{` and `}}` are literal braces. Raises TemplateError for any other brace.
    """

    __slots__ = ("names", "_parts")

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        # Literal text at even positions, names of placeholders at odd ones.
        self._parts: list[str] = [""]
        end = 0
        for found in _TOKEN.finditer(text):
            self._parts[-1] += text[end : found.start()]
            end = found.end()
            if found[1]:
                self.names.append(found[1])
                self._parts += [found[1], ""]
            elif len(found[0]) == 2:
                self._parts[-1] += found[0][0]
            else:
                raise TemplateError(
                    f'"{found[0]}" at character {found.start() + 1} is neither a placeholder like '
                    "{source} nor doubled"
                )
        self._parts[-1] += text[end:]

    @property
    def sole_placeholder(self) -> str | None:
        """Name of the placeholder if the template is one placeholder without other text."""
        return (
            self._parts[1]
            if len(self._parts) == 3 and not self._parts[0] + self._parts[2]
            else None
        )

    def fill(self, values: Mapping[str, str]) -> str:
        parts = self._parts
        if len(parts) == 1:
            return parts[0]
        return "".join(values[part] if i % 2 else part for i, part in enumerate(parts))


# A cache: the same few templates are filled for each job, and parsing one takes 5 µs.
parse_template = lru_cache(1024)(Template)


def shell_placeholder(text: str, names: Sequence[str]) -> tuple[int, str] | None:
    """Return (line number, name) of the first `{name}` in shell text that has no `$` before it.

    names: the parameters; other names in braces are ignored. Return None if nothing is found.
    """
    if not names:
        return None
    pattern = re.compile(r"(?<!\$)\{(" + "|".join(map(re.escape, names)) + r")\}")
    found = pattern.search(text)
    return None if found is None else (text.count("\n", 0, found.start()) + 1, found[1])


def unset_variable(text: str, names: Sequence[str]) -> str | None:
    """Return the first of these parameters that shell text reads as `$name` but never sets.

    The author probably meant the parameter, which is `$MYTHJOBS_P_NAME`. Return None if
    the shell text reads no such variable.
    """
    for name in names:
        reads = re.search(rf"\$(?:\{{[#!]?)?{re.escape(name)}\b", text)
        if reads and not re.search(rf"(?<![\w$#!{{]){re.escape(name)}\b", text):
            return name
    return None
