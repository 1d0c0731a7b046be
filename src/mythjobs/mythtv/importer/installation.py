"""What the import reads of a MythTV installation, and its reading from the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mythjobs.mythtv.database import profiles, settings
from mythjobs.mythtv.database.connection import MythDatabase, read_schema
from mythjobs.mythtv.database.profiles import RuleJobs, TranscodeProfile


@dataclass(frozen=True)
class MythInstallation:
    """Settings have names in lower case. hosts: settings of each host that runs jobs. source: where
    it was read. schema: version of the database, 0 if read from the Services API."""

    settings: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    profiles: tuple[TranscodeProfile, ...] = ()
    rules: tuple[RuleJobs, ...] = ()
    source: str = ""
    schema: int = 0

    def is_on(self, name: str) -> bool:
        return self.settings.get(name.lower(), "") not in ("", "0")

    def text(self, name: str) -> str:
        return self.settings.get(name.lower(), "").strip()


def read_installation(database: MythDatabase) -> MythInstallation:
    """Read an installation. Raises ConfigError, Unreachable, MythDatabaseError."""
    schema = read_schema(database)
    return MythInstallation(
        settings=settings.read_settings(database),
        hosts={
            host: settings.read_settings(database, host)
            for host in settings.list_job_hosts(database)
        },
        profiles=tuple(profiles.list_transcode_profiles(database)),
        rules=tuple(profiles.list_rules(database)),
        source=database.address.label,
        schema=schema,
    )
