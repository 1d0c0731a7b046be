"""Takeover of MythTV's queue: its hosts start no jobs any more, until it is switched off again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from mythjobs.config import files
from mythjobs.errors import ConfigError, MythJobsError, Unreachable
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir

# With 0 the queue of a host starts nothing and looks at no row; its set-up never writes 0.
SETTING: Final = "JobQueueMaxSimultaneousJobs"
OFF: Final = "0"


@dataclass(frozen=True)
class Takeover:
    """hosts: the setting of each host before the takeover, None if it had none. keys: how the
    hosts that had the setting spell its name. pending: hosts whose queue is not known to be
    switched off, because the change was interrupted or failed."""

    is_on: bool = False
    hosts: Mapping[str, str | None] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()

    @property
    def taken(self) -> list[str]:
        """The hosts whose queue is switched off."""
        return sorted(each for each in self.hosts if each not in self.pending)


def load_takeover(directory: BridgeDir) -> Takeover:
    """Return the state of the takeover. Raises ConfigError."""
    try:
        found = json.loads(directory.takeover.read_bytes())
        return Takeover(
            found["is_on"] is True,
            dict(found["hosts"]),
            dict(found.get("keys", {})),
            frozenset(found.get("pending", ())),
        )
    except FileNotFoundError:
        return Takeover()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read {directory.takeover} ({error}); it holds the settings of MythTV's hosts "
            f"before the takeover: restore it, or move it away and set {SETTING} of each host"
        ) from None


def switch_on(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Switch off the queues of all of MythTV's hosts. Return what was done, by host.

    The previous settings are saved before the first of them is changed. A repetition continues
    where a failure has ended. Raises the error of the first host that failed, with what was done.
    """
    present = load_takeover(directory)
    hosts, keys = dict(present.hosts), dict(present.keys)
    known = {each.casefold(): each for each in hosts}
    done, due = {}, []
    for found, settings in services.job_hosts().items():
        # Saved under another writing of the name, it is the same host.
        host = known.get(found.casefold(), found)
        key, value = _read(settings)
        if value == OFF and host in hosts:
            done[host] = "was switched off already"
            continue
        hosts[host] = value
        keys[host] = key
        due.append(host)
    if not hosts:
        raise ConfigError("MythTV has no host with a job queue; is this its master backend?")
    pending = {*due, *(each for each in present.pending if each not in done)}
    _save(directory, Takeover(True, hosts, keys, frozenset(pending)))
    failed: dict[str, MythJobsError] = {}
    for host in due:
        try:
            services.put_setting(keys[host], OFF, host)
        except MythJobsError as error:
            failed[host] = error
            if isinstance(error, Unreachable):
                break
        else:
            pending.discard(host)
            done[host] = f"switched off; before: {_describe(hosts[host])}"
    # A host that MythTV does not list any more runs no jobs.
    pending &= set(due)
    after = Takeover(len(pending) < len(hosts), hosts, keys, frozenset(pending))
    _save(directory, after)
    if failed:
        first = next(iter(failed.values()))
        raise type(first)(
            f"{first.sentence}. Switched off: {', '.join(after.taken) or 'no host'}; not switched: "
            f"{', '.join(sorted(pending))}. Repeat `mythjobs mythtv takeover on` to finish, or "
            "undo it with `mythjobs mythtv takeover off`"
        )
    return done


def switch_off(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Restore the settings of all hosts. Return what was done, by host.

    A setting that somebody changed meanwhile is left alone. A repetition continues where a failure
    has ended. Raises the error of the first host that failed, with what was done.
    """
    present = load_takeover(directory)
    # The bridge claims no more rows from now on.
    _save(directory, replace(present, is_on=False))
    done: dict[str, str] = {}
    left = dict(present.hosts)
    for host in present.hosts:
        try:
            done[host] = _restore(services, host, present)
        except MythJobsError as error:
            raise type(error)(
                f"{error.sentence}. Done: {', '.join(sorted(done)) or 'no host'}; still off: "
                f"{', '.join(sorted(left))}. Repeat `mythjobs mythtv takeover off`"
            ) from None
        del left[host]
        # Saved after each host: a repetition must not treat a restored setting as a user's change.
        _save(directory, replace(present, is_on=False, hosts=left))
    _save(directory, Takeover(False))
    return done


def _restore(services: Services, host: str, takeover: Takeover) -> str:
    before = takeover.hosts[host]
    key, value = _read(services.settings(host))
    if value != OFF:
        if host in takeover.pending:
            return "had not been switched off"
        return f"left alone, because it was changed meanwhile to {_describe(value)}"
    if before is None:
        services.delete_setting(key, host)
        return "restored to MythTV's default"
    services.put_setting(takeover.keys.get(host, key), before, host)
    return f"restored to {before} at once"


def read_hosts(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Return for each host whether its queue runs."""
    takeover = load_takeover(directory)
    known = {each.casefold() for each in takeover.hosts}
    pending = {each.casefold() for each in takeover.pending}
    found = {}
    for host, settings in services.job_hosts().items():
        value = _read(settings)[1]
        if value == OFF:
            found[host] = "off, taken over" if host.casefold() in known else "off"
        else:
            missing = "not switched off yet, " if host.casefold() in pending else ""
            found[host] = f"{missing}runs jobs ({_describe(value)})"
    return found


def is_mythtv_idle(directory: BridgeDir, services: Services) -> bool:
    """Return whether none of MythTV's hosts runs jobs of its queue by itself."""
    takeover = load_takeover(directory)
    if takeover.is_on and not takeover.pending:
        return True
    return all(_read(each)[1] == OFF for each in services.job_hosts().values())


def describe_takeover(takeover: Takeover) -> str:
    """Return `on: mythbox`, `off`, or what a failure has left."""
    if takeover.is_on and takeover.pending:
        return (
            f"half on: {', '.join(takeover.taken) or 'no host'}; not switched: "
            f"{', '.join(sorted(takeover.pending))}; repeat `mythjobs mythtv takeover on` to "
            "finish, or undo it with `takeover off`"
        )
    if takeover.is_on:
        return f"on: {', '.join(takeover.taken)}"
    if takeover.taken:
        return (
            f"half off: {', '.join(takeover.taken)} may still be switched off; repeat `mythjobs "
            "mythtv takeover off`"
        )
    return "off"


def _read(settings: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the setting's name as this host spells it, and its value."""
    # MythTV's database ignores the case of settings' names, and so do its hosts.
    found = ((k, v) for k, v in settings.items() if k.lower() == SETTING.lower())
    return next(found, (SETTING, None))


def _describe(value: str | None) -> str:
    return "MythTV's default" if value is None else f"{value} at once"


def _save(directory: BridgeDir, takeover: Takeover) -> None:
    content = {
        "is_on": takeover.is_on,
        "hosts": dict(takeover.hosts),
        "keys": dict(takeover.keys),
        "pending": sorted(takeover.pending),
    }
    files.replace_file(directory.takeover, json.dumps(content).encode())
