"""A machine's own policy: a file on the machine that has the last word over its master."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.bounds import NO_BOUNDS, Bounds
from mythjobs.model.machine_policy import ALLOW_ALL, MAX_JOBS, Rights, read_rights
from mythjobs.model.policy_tables import read_bounds

_KEYS: Final = ("allow", "jobs", "limits")


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """What the machine's owner allows at most. jobs: at once; None: as the master says."""

    rights: Rights = ALLOW_ALL
    jobs: int | None = None
    limits: Bounds = NO_BOUNDS

    def with_ceiling(self, jobs: int | None) -> OwnPolicy:
        """Return this policy with another ceiling of jobs at once, if that is lower."""
        if jobs is None or (self.jobs is not None and self.jobs <= jobs):
            return self
        return replace(self, jobs=jobs)


NO_OWN_POLICY: Final = OwnPolicy()


def own_policy_from_table(given: toml.Table) -> OwnPolicy:
    """Parse the file. A missing key limits nothing. Raises DefinitionError, which names the key."""
    for key in given:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    return OwnPolicy(
        read_rights(given["allow"]) if "allow" in given else ALLOW_ALL,
        toml.read_int(given, "jobs", 0, MAX_JOBS),
        read_bounds(given.get("limits", {})),
    )
