"""MythTV's settings of one host, and the global ones; storage groups; hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mythjobs.mythtv.database.connection import MythDatabase

# The name of the global settings in MythTV's Services API; in the table their host is NULL.
GLOBAL: Final = "_GLOBAL_"


def read_settings(database: MythDatabase, host: str = GLOBAL) -> dict[str, str]:
    """Return all settings of a host. Keys are in lower case: MythTV ignores their case."""
    if host == GLOBAL:
        # Some versions stored the empty name for a global setting.
        rows = database.query(
            "SELECT value, data FROM settings WHERE hostname IS NULL OR hostname = ''"
        )
    else:
        rows = database.query("SELECT value, data FROM settings WHERE hostname = %s", host)
    return {str(each["value"]).lower(): str(each["data"]) for each in rows}


def list_job_hosts(database: MythDatabase) -> list[str]:
    """Return the hosts that have settings of the job queue or storage groups."""
    rows = database.query(
        "SELECT DISTINCT hostname FROM settings WHERE hostname IS NOT NULL AND hostname <> '' "
        "AND (LEFT(value, 8) IN ('JobQueue', 'JobAllow') OR value IN ('BackendServerIP', "
        "'BackendServerAddr')) "
        "UNION SELECT DISTINCT hostname FROM storagegroup WHERE hostname <> '' ORDER BY 1"
    )
    return [str(each["hostname"]) for each in rows]


def read_storage_groups(database: MythDatabase) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return the directories of each (group, host), in MythTV's order."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for each in database.query("SELECT groupname, hostname, dirname FROM storagegroup ORDER BY id"):
        key = (str(each["groupname"]), str(each["hostname"]))
        directory = str(each["dirname"]).rstrip("/") or "/"
        found[key] = (*found.get(key, ()), directory)
    return found
