"""`{name}` inside one argv element: data goes in whole, and is never split or read by a shell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)\}|[{}]")


class TemplateError(ValueError):
    """A brace that is neither a placeholder nor doubled."""


class Template:
    """An element of argv (or a subject), split at its placeholders.

    `{{` and `}}` are literal braces. Raises TemplateError on any other stray brace.
    """

    __slots__ = ("names", "_parts")

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        # Odd places hold names, even ones literal text.
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
    def lone(self) -> str | None:
        """The name, when the element is that placeholder and nothing else."""
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


def shell_placeholder(text: str, names: Sequence[str]) -> tuple[int, str] | None:
    """The line and name of the first `{name}` of a declared parameter without `$` before it."""
    if not names:
        return None
    pattern = re.compile(r"(?<!\$)\{(" + "|".join(map(re.escape, names)) + r")\}")
    found = pattern.search(text)
    return None if found is None else (text.count("\n", 0, found.start()) + 1, found[1])


def unset_variable(text: str, names: Sequence[str]) -> str | None:
    """The first of the names that the text of a shell reads as `$name`, and never has without a
    `$`: so it sets it nowhere, and whoever wrote it took it for the parameter."""
    for name in names:
        reads = re.search(rf"\$(?:\{{[#!]?)?{re.escape(name)}\b", text)
        if reads and not re.search(rf"(?<![\w$#!{{]){re.escape(name)}\b", text):
            return name
    return None
