"""A machine's own policy: a file on the machine that limits what any master may run there."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.bounds import NO_BOUNDS, Bounds
from mythjobs.model.machine_policy import (
    ALLOW_ALL,
    ALLOW_NOTHING,
    MAX_JOBS,
    Rights,
    bounds_to_table,
    read_rights,
    rights_to_value,
    windows_to_table,
    without_defaults,
)
from mythjobs.model.policy_tables import NO_WINDOWS, Windows, read_bounds, read_windows
from mythjobs.model.window import OWN_SET, Hours
from mythjobs.model.zone import load_zone

_KEYS: Final = ("allow", "jobs", "limits", "windows", "zone", "users", "roots")


_MAX_ROOTS: Final = 100


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """What the machine's owner allows at most. jobs: at once; None: as the master says. zone: of
    the windows; "": the machine's. users: who the agent may run as; empty: anybody. roots: below
    which the path arguments and working directories of jobs must be; empty: anywhere."""

    rights: Rights = ALLOW_ALL
    jobs: int | None = None
    limits: Bounds = NO_BOUNDS
    windows: Windows = NO_WINDOWS
    zone: str = ""
    users: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    def with_ceiling(self, jobs: int | None) -> OwnPolicy:
        """Return this policy with another ceiling of jobs at once, if that is lower."""
        if jobs is None or (self.jobs is not None and self.jobs <= jobs):
            return self
        return replace(self, jobs=jobs)

    def limit_hours(self, given: Hours | None) -> Hours | None:
        """Return a master's hours for an attempt, with the windows of this policy in place of
        those that the master believes to be its. None: any time."""
        own = self.windows
        if not own.open and given is None:
            return None
        hours = given or Hours()
        if own.open:
            hours = hours._replace(sets=(*hours.sets[:OWN_SET], own.open), zone=self.zone)
        elif len(hours.sets) > OWN_SET:
            hours = hours._replace(sets=hours.sets[:OWN_SET])
        return hours._replace(
            closing=own.closing or hours.closing,
            grace_s=hours.grace_s if own.grace_s is None else own.grace_s,
        )


NO_OWN_POLICY: Final = OwnPolicy()
# Of a machine whose policy the master cannot read.
REFUSING_POLICY: Final = OwnPolicy(ALLOW_NOTHING)


def own_policy_from_table(given: toml.Table, *, is_report: bool = False) -> OwnPolicy:
    """Parse the file. A missing key limits nothing. Raises DefinitionError, which names the key.

    is_report: the table comes from an agent, possibly a newer one: ignore unknown keys, as the
    agent itself enforces its policy, and time zones that are not installed here.
    """
    for key in given:
        if key not in _KEYS and not is_report:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    zone = toml.read_text(given, "zone")
    if not is_report:
        try:
            load_zone(zone)
        except ValueError as error:
            raise DefinitionError("zone", str(error)) from None
    users = toml.read_strings(given, "users", '["mythtv"]')
    if "users" in given and not users:
        raise DefinitionError("users", "is empty, so that no user may run jobs; name one")
    return OwnPolicy(
        read_rights(given["allow"]) if "allow" in given else ALLOW_ALL,
        toml.read_int(given, "jobs", 0, MAX_JOBS),
        read_bounds(given.get("limits", {})),
        read_windows(given.get("windows", {})),
        zone,
        users,
        _read_roots(given),
    )


def _read_roots(given: toml.Table) -> tuple[str, ...]:
    roots = toml.read_strings(given, "roots", '["/srv/tv"]')
    if "roots" in given and not roots:
        raise DefinitionError("roots", "is empty, so that no path is accepted; name a directory")
    if len(roots) > _MAX_ROOTS:
        raise DefinitionError("roots", f"has more than {_MAX_ROOTS} directories")
    for each in roots:
        if not each.startswith("/") or "\0" in each or posixpath.normpath(each) != each:
            raise DefinitionError("roots", f'"{each}" must be an absolute path without . and ..')
    return roots


def own_policy_to_table(own: OwnPolicy) -> dict[str, object]:
    """Return TOML tables, without defaults, that `own_policy_from_table` parses to this policy."""
    return without_defaults(
        {
            "allow": "" if own.rights == ALLOW_ALL else rights_to_value(own.rights),
            "jobs": own.jobs,
            "users": list(own.users),
            "roots": list(own.roots),
            "zone": own.zone,
            "windows": windows_to_table(own.windows),
            "limits": bounds_to_table(own.limits),
        }
    )
