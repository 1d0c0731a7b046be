"""What the import reads of a MythTV installation, from its database or its Services API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mythjobs.errors import ProtocolError
from mythjobs.mythtv.database import profiles, settings
from mythjobs.mythtv.database.connection import MythDatabase, read_schema
from mythjobs.mythtv.database.profiles import RuleJobs, TranscodeProfile
from mythjobs.mythtv.json_values import (
    Json,
    read_boolean,
    read_number,
    read_table,
    read_tables,
    read_text,
)
from mythjobs.mythtv.services.client import Services

TEMPLATE: Final = 11  # record.type: values of new rules; it records nothing
_ANY_TYPE: Final = 4  # the Services API gives names of types
_LIMIT: Final = "jobqueuemaxsimultaneousjobs"


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


def read_installation_from_services(services: Services, source: str) -> MythInstallation:
    """Read an installation through the Services API. Raises Unreachable, ProtocolError, BadRequest.

    The API does not show which hosts only have storage groups.
    """
    hosts = {host: _lower(found) for host, found in services.job_hosts().items()}
    groups = services.get("Capture/GetRecProfileGroupList")
    rules = services.get("Dvr/GetRecordScheduleList")
    return MythInstallation(
        settings=_lower(services.settings(None)),
        hosts=hosts,
        profiles=tuple(_parse_profiles(groups)),
        rules=tuple(_parse_rule(each) for each in _list(rules, "RecRuleList", "RecRules")),
        source=source,
    )


def with_previous_limits(
    found: MythInstallation, previous: Mapping[str, str | None]
) -> MythInstallation:
    """Return the installation as it was before the takeover, which sets the number of jobs of each
    host to 0. previous: that number, None where there was none."""
    hosts = {}
    for host, given in found.hosts.items():
        changed = dict(given)
        if host in previous and given.get(_LIMIT) == "0":
            value = previous[host]
            del changed[_LIMIT]
            if value is not None:
                changed[_LIMIT] = value
        hosts[host] = changed
    return replace(found, hosts=hosts)


def _parse_profiles(groups: Mapping[str, Any]) -> list[TranscodeProfile]:
    return [
        TranscodeProfile(
            read_number(each, "Id"), read_text(each, "Name"), bool(each.get("RecProfParams"))
        )
        for group in _list(groups, "RecProfileGroupList", "RecProfileGroups")
        if group.get("CardType") == "TRANSCODE"
        for each in read_tables(group, "RecProfiles")
    ]


def _parse_rule(rule: Mapping[str, Any]) -> RuleJobs:
    return RuleJobs(
        id=read_number(rule, "Id"),
        type=TEMPLATE if "Template" in read_text(rule, "Type") else _ANY_TYPE,
        title=read_text(rule, "Title"),
        transcode=read_boolean(rule, "AutoTranscode"),
        commflag=read_boolean(rule, "AutoCommflag"),
        metadata=read_boolean(rule, "AutoMetaLookup"),
        userjobs=(
            read_boolean(rule, "AutoUserJob1"),
            read_boolean(rule, "AutoUserJob2"),
            read_boolean(rule, "AutoUserJob3"),
            read_boolean(rule, "AutoUserJob4"),
        ),
        transcoder=read_number(rule, "Transcoder"),
    )


def _lower(settings: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in settings.items()}


def _list(answer: Mapping[str, Any], outer: str, inner: str) -> list[Json]:
    table = read_table(answer, outer)
    if inner not in table:
        raise ProtocolError(f"the backend answered without {outer}")
    return read_tables(table, inner)
