"""Changes of the text of `rules.toml` that keep the comments of its author. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mythjobs.errors import BadRequest, Conflict
from mythjobs.mythtv.rules import RecordingRule, describe_rule, format_rules, parse_rules

if TYPE_CHECKING:
    import tomlkit


def add_rule(text: str, rule: RecordingRule, *, replace: bool = False) -> str:
    """Return the text with a rule at its end, or in the place of that with its name.

    Raises Conflict if there is one and `replace` is false, DefinitionError for an invalid text.
    """
    names = [each.name for each in parse_rules(text)]
    if rule.name not in names:
        own = format_rules([rule])
        # Without the comment that begins a new file.
        return own if not text.strip() else f"{text.rstrip()}\n\n{own[own.index('[[rules]]') :]}"
    if not replace:
        raise Conflict(f'there is a rule "{rule.name}"; replace it with --replace')
    document, tables = _parse(text)
    table = tables[names.index(rule.name)]
    for key in list(table):
        del table[key]
    for key, value in describe_rule(rule).items():
        table[key] = value
    return _format(document)


def remove_rule(text: str, name: str) -> str:
    """Return the text without a rule. Raises BadRequest if there is none with the name."""
    index = _find(text, name)
    document, tables = _parse(text)
    del tables[index]
    return _format(document)


def enable_rule(text: str, name: str, is_enabled: bool) -> str:
    """Return the text with a rule switched on or off. Raises BadRequest."""
    index = _find(text, name)
    document, tables = _parse(text)
    if is_enabled:
        tables[index].pop("enabled", None)
    else:
        tables[index]["enabled"] = False
    return _format(document)


def _find(text: str, name: str) -> int:
    for index, each in enumerate(parse_rules(text)):
        if each.name == name:
            return index
    raise BadRequest(f'there is no rule "{name}"; see `mythjobs mythtv rules list`')


def _parse(text: str) -> tuple[tomlkit.TOMLDocument, Any]:
    import tomlkit

    document = tomlkit.parse(text)
    return document, document["rules"]


def _format(document: tomlkit.TOMLDocument) -> str:
    import tomlkit

    return tomlkit.dumps(document)
