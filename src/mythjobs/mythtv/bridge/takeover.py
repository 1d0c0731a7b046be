"""Take-over of MythTV's queue: its hosts start no jobs any more, until it is switched off again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mythjobs.config import files
from mythjobs.errors import ConfigError
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir

# With 0 the queue of a host starts nothing and looks at no row; its set-up never writes 0.
SETTING: Final = "JobQueueMaxSimultaneousJobs"
OFF: Final = "0"
# A host with one of these settings runs a backend or mythjobqueue; other hosts are frontends.
_MARKS: Final = ("jobqueue", "joballow", "backendserver")


@dataclass(frozen=True)
class Takeover:
    """hosts: the setting of each host before the take-over, None if it had none."""

    is_on: bool = False
    hosts: Mapping[str, str | None] = field(default_factory=dict)


def load_takeover(directory: BridgeDir) -> Takeover:
    """Return the state of the take-over. Raises ConfigError."""
    try:
        found = json.loads(directory.takeover.read_bytes())
        return Takeover(found["is_on"] is True, dict(found["hosts"]))
    except FileNotFoundError:
        return Takeover()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read {directory.takeover} ({error}); it holds the settings of MythTV's hosts "
            f"before the take-over: restore it, or move it away and set {SETTING} of each host"
        ) from None


def switch_on(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Switch off the queues of all of MythTV's hosts. Return what was done, by host.

    The previous settings are saved before the first of them is changed.
    """
    present = load_takeover(directory)
    hosts = dict(present.hosts)
    done = {}
    for host, settings in _list_hosts(services).items():
        value = _read(settings)
        if value == OFF and host in hosts:
            done[host] = "was switched off already"
            continue
        hosts[host] = value
        before = f"{value} at once" if value is not None else "MythTV's default"
        done[host] = f"switched off; before: {before}"
    if not hosts:
        raise ConfigError("MythTV has no host with a job queue; is this its master backend?")
    _save(directory, Takeover(True, hosts))
    for host, text in done.items():
        if text.startswith("switched"):
            services.put_setting(SETTING, OFF, host)
    return done


def switch_off(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Restore the settings of all hosts. Return what was done, by host.

    A setting that somebody changed meanwhile is left alone.
    """
    present = load_takeover(directory)
    # The bridge claims no more rows from now on.
    _save(directory, Takeover(False, present.hosts))
    done = {}
    for host, before in present.hosts.items():
        value = _read(services.settings(host))
        if value != OFF:
            done[host] = f"left alone, because it was changed meanwhile to {value}"
        elif before is None:
            services.delete_setting(SETTING, host)
            done[host] = "restored to MythTV's default"
        else:
            services.put_setting(SETTING, before, host)
            done[host] = f"restored to {before} at once"
    _save(directory, Takeover(False))
    return done


def read_hosts(directory: BridgeDir, services: Services) -> dict[str, str]:
    """Return for each host whether its queue runs."""
    taken = load_takeover(directory)
    found = {}
    for host, settings in _list_hosts(services).items():
        value = _read(settings)
        if value == OFF:
            found[host] = "off, taken over" if host in taken.hosts else "off"
        else:
            limit = f"{value} at once" if value is not None else "MythTV's default"
            found[host] = f"runs jobs ({limit})"
    return found


def is_mythtv_idle(directory: BridgeDir, services: Services) -> bool:
    """Return whether none of MythTV's hosts runs jobs of its queue by itself."""
    if load_takeover(directory).is_on:
        return True
    return all(_read(each) == OFF for each in _list_hosts(services).values())


def _list_hosts(services: Services) -> dict[str, Mapping[str, str]]:
    found = {}
    own = services.host_name()
    # MythTV's tables ignore the case of host names: two writings are the same settings.
    others = [each for each in services.host_names() if each.casefold() != own.casefold()]
    names = {each.casefold(): each for each in [own, *others] if each}
    for host in sorted(names.values()):
        settings = services.settings(host)
        keys = [each.lower() for each in settings]
        if host == own or any(key.startswith(_MARKS) for key in keys):
            found[host] = settings
    return found


def _read(settings: Mapping[str, str]) -> str | None:
    # MythTV ignores the case of settings' names.
    return next((v for k, v in settings.items() if k.lower() == SETTING.lower()), None)


def _save(directory: BridgeDir, takeover: Takeover) -> None:
    files.replace_file(
        directory.takeover,
        json.dumps({"is_on": takeover.is_on, "hosts": dict(takeover.hosts)}).encode(),
    )
