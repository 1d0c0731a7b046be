"""What a command's definition sets about notifications: [notify], and the URL of its heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.incident import KINDS
from mythjobs.model.message_text import check_template

_EXAMPLE: Final = 'events = ["failed"]'
_MAX_URL: Final = 2000


@dataclass(frozen=True, slots=True)
class NotifyPolicy:
    """A command's notifications: kinds of incidents that are sent to channels (None: all), the
    template of messages ("": the default), and the URL to call at start and end of its jobs."""

    kinds: tuple[str, ...] | None = None
    template: str = ""
    heartbeat: str = ""


NO_NOTIFY_POLICY: Final = NotifyPolicy()


def read_notify_policy(table: toml.Table) -> NotifyPolicy:
    """Parse `notify` and `heartbeat` of a definition. Raises DefinitionError."""
    if "notify" not in table and "heartbeat" not in table:
        return NO_NOTIFY_POLICY
    given = toml.read_table(table.get("notify", {}), "notify", _EXAMPLE, ("events", "template"))
    kinds = None
    if "events" in given:
        kinds = toml.read_strings(given, "events", '["failed"]', "notify.")
        for each in kinds:
            if each not in KINDS:
                known = ", ".join(KINDS)
                raise DefinitionError("notify.events", f'"{each}" is unknown; known are {known}')
    template = toml.read_text(given, "template", prefix="notify.")
    try:
        check_template(template)
    except ValueError as error:
        raise DefinitionError("notify.template", str(error)) from None
    return NotifyPolicy(kinds, template, read_heartbeat(table))


def read_heartbeat(table: toml.Table) -> str:
    """Return the key `heartbeat` of a command or a schedule. Raises DefinitionError."""
    heartbeat = toml.read_text(table, "heartbeat")
    if heartbeat:
        try:
            check_heartbeat_url(heartbeat)
        except ValueError as error:
            raise DefinitionError("heartbeat", str(error)) from None
    return heartbeat


def check_heartbeat_url(url: str) -> None:
    """Raise ValueError unless `url` can be called at start and end of a job."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port, or the brackets of an IPv6 address
        valid = False
    if not valid or len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("is not a URL to call; write it like https://hc-ping.com/UUID")
