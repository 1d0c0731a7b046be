"""Texts of messages to channels: title and body of notifications, and templates. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mythjobs.model.template import Template, TemplateError, parse_template

# Placeholders of a template, with a description for users.
PLACEHOLDERS: Final = {
    "title": "what happened, in one line",
    "kind": "kind of the incident, like failed",
    "name": "name of the command, machine or schedule",
    "count": "how often it happened",
    "since": "when it happened first",
    "reason": "sentence with the reason",
    "job": "id of the last job concerned",
    "attempt": "number of that job's last attempt",
    "machine": "machine of that attempt",
    "lines": "last lines of its output",
    "show": "command line that shows more",
}
MAX_TEMPLATE: Final = 4000
_MAX_NAMED: Final = 10
_VERBS: Final = {
    "failed": "failed",
    "recovered": "succeeds again",
    "held": "is held",
    "lost": "is not reachable",
    "returned": "is back",
    "missed": "was missed",
    "late": "is late",
    "drifting": "runs less often than it should",
    "slow": "runs longer than usual",
    "batch": "is done",
    "channel": "fails",
}


class MessageFacts(NamedTuple):
    """What a message says about one notification.

    times: incidents so far. affected: jobs that a lost machine affected. since_ms: of the first.
    """

    kind: str
    name: str
    times: int
    since_ms: int
    detail: str = ""
    job: int | None = None
    n: int = 0
    machine: str = ""
    affected: int = 0


def check_template(text: str) -> None:
    """Raise ValueError unless `text` is a valid template of a message."""
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"is longer than {MAX_TEMPLATE} characters")
    try:
        names = Template(text).names
    except TemplateError as error:
        raise ValueError(str(error)) from None
    for each in names:
        if each not in PLACEHOLDERS:
            known = ", ".join(PLACEHOLDERS)
            raise ValueError(f"there is no {{{each}}}; known are {known}")


def make_title(facts: Sequence[MessageFacts]) -> str:
    """Return what happened in one line. Several facts are about machines, lost or returned."""
    first = facts[0]
    if len(facts) > 1:
        names = sorted(each.name for each in facts)
        more = ", …" if len(names) > _MAX_NAMED else ""
        verb = "are not reachable" if first.kind == "lost" else "are back"
        return f"{len(facts)} machines {verb}: {', '.join(names[:_MAX_NAMED])}{more}"
    verb = _VERBS[first.kind]
    if first.kind in ("lost", "returned"):
        return f"machine {first.name} {verb}"
    if first.kind == "channel":
        return f"notification channel {first.name} {verb}"
    if first.kind == "recovered" or first.times == 1:
        return f"{first.name} {verb}"
    if first.kind == "held":
        return f"{first.times:,} jobs of {first.name} are held"
    if first.kind == "slow":
        return f"{first.times:,} jobs of {first.name} run longer than usual"
    if first.kind == "batch":
        return f"{first.times:,} batches of {first.name} are done"
    return f"{first.name} {verb} {first.times:,} times"


def make_values(facts: Sequence[MessageFacts], lines: str, since: str) -> dict[str, str]:
    """Return the value of each placeholder. since: local time of the first incident."""
    first = facts[0]
    return {
        "title": make_title(facts),
        "kind": first.kind,
        "name": ", ".join(each.name for each in facts),
        "count": str(sum(each.times for each in facts)),
        "since": since,
        "reason": first.detail,
        "job": "" if first.job is None else str(first.job),
        "attempt": str(first.n) if first.n else "",
        "machine": first.machine,
        "lines": lines,
        "show": _make_hint(first),
    }


def _make_hint(facts: MessageFacts) -> str:
    if facts.kind in ("lost", "returned"):
        return "mythjobs machines"
    if facts.kind == "channel":
        return "mythjobs notify list"
    return "mythjobs notifications" if facts.job is None else f"mythjobs show {facts.job}"


def render(facts: Sequence[MessageFacts], template: str, lines: str, since: str) -> tuple[str, str]:
    """Return title and body of a message.

    template: its first line is the title, the rest the body; "" is the default text.
    lines: the last lines of output, "" if there is none. since: local time of the first incident.
    """
    values = make_values(facts, lines, since)
    if template:
        title, _, body = parse_template(template).fill(values).partition("\n")
        return title, body.strip("\n")
    return f"mythjobs: {values['title']}", _make_body(facts, values)


def _make_body(facts: Sequence[MessageFacts], values: Mapping[str, str]) -> str:
    first = facts[0]
    parts = []
    if first.kind == "recovered":
        parts.append(f"It had failed {_count(first.times)} since {values['since']}.")
    elif first.kind == "returned":
        parts.append(f"Lost at {values['since']}.")
    elif first.job is not None:
        where = f" on {first.machine}" if first.machine else ""
        parts.append(f"job {first.job}{where}: {first.detail}")
        if first.times > 1:
            parts.append(f"This is the last of {first.times:,} since {values['since']}.")
    elif first.kind == "lost":
        parts += [each.detail if len(facts) == 1 else f"{each.name}: {each.detail}"
                  for each in facts[:_MAX_NAMED]]  # fmt: skip
        affected = sum(each.affected for each in facts)
        if affected:
            owner = "its" if len(facts) == 1 else "their"
            verb = "failed or is held" if affected == 1 else "failed or are held"
            parts.append(f"{affected:,} of {owner} jobs {verb}; `mythjobs jobs` lists them.")
    elif first.detail:
        parts.append(first.detail)
    if values["lines"] and first.kind != "recovered":
        indented = "\n".join(f"  {each}" for each in values["lines"].splitlines())
        parts.append(f"Last lines of its output:\n{indented}")
    parts.append(values["show"])
    return "\n\n".join(parts)


def _count(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
