"""Reasons why an entry cannot become a job of this queue, each with what to do."""

from __future__ import annotations

from collections.abc import Mapping

from mythjobs.takeover.entry import ImportFacts


def refuse_user(user: str, facts: ImportFacts) -> str:
    """Return why jobs cannot run as this user, and what to do; "" if they can."""
    if user not in facts.accounts:
        return f"there is no user {user} on this machine, so cron does not run it either"
    if facts.runner not in (user, "root"):
        starter = "root" if user == "root" else f"{user} or root"
        return (
            f"runs as {user}, and jobs of this queue run as {facts.runner}; import it into a queue "
            f"that {starter} has started"
        )
    return ""


def refuse_text(raw: str, settings: Mapping[str, str]) -> str:
    """Return why a definition cannot contain this text; "" if it can."""
    if any("\udc80" <= each <= "\udcff" for each in raw + "".join(settings.values())):
        return "is not UTF-8; definitions are, so write the text in UTF-8 first"
    if "\0" in raw:
        return "has a NUL character"
    for name in settings:
        if name.startswith("MYTHJOBS_"):
            return f"sets {name}; names of mythjobs's own variables cannot be set"
    return ""
