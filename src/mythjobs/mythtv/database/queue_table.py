"""MythTV's table `jobqueue`, for the bridge (QueueTable in mythtv/job_rows.py)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey, Row, format_ms, parse_ms
from mythjobs.mythtv.job_rows import JobRow, RowChange, RowState, shorten_comment

_READ: Final = """
SELECT j.id, j.chanid, j.starttime, j.inserttime, j.type, j.cmds, j.flags, j.status, j.hostname,
    j.args, j.comment, j.schedruntime, r.recordedid
FROM jobqueue j LEFT JOIN recorded r ON r.chanid = j.chanid AND r.starttime = j.starttime
"""
_USAGE: Final = "jobqueue"


class QueueDatabase:
    """The table `jobqueue` and what belongs to it, in MythTV's database. For one thread."""

    def __init__(self, database: MythDatabase) -> None:
        self._database = database

    def read_rows(self) -> list[JobRow]:
        """Return all rows in MythTV's order of execution."""
        return [
            _parse(each) for each in self._database.query(f"{_READ} ORDER BY j.schedruntime, j.id")
        ]

    def claim(self, row_id: int, *, expected_host: str, host: str) -> bool:
        """Give a queued row of `expected_host` ("" is unclaimed) to `host`. Return whether it was
        still such a row."""
        return bool(
            self._database.execute(
                "UPDATE jobqueue SET hostname = %s WHERE id = %s AND hostname = %s AND status = %s",
                host,
                row_id,
                expected_host,
                RowState.QUEUED.value,
            )
        )

    def release(self, row_id: int, *, host: str) -> bool:
        """Make a row of `host` queued and unclaimed, without a comment. Return whether it was such
        a row."""
        return bool(
            self._database.execute(
                "UPDATE jobqueue SET hostname = '', status = %s, comment = '' "
                "WHERE id = %s AND hostname = %s",
                RowState.QUEUED.value,
                row_id,
                host,
            )
        )

    def write(self, row_id: int, *, host: str, state: int, change: RowChange) -> bool:
        """Change a row of `host` that has this state, and its `statustime` in any case. Return
        False if the row is gone, another host's, or has another state.

        A server that was frozen carries out a statement when its client has long given it up: the
        state keeps it from overwriting what was written since.
        """
        columns, values = ["statustime = CURRENT_TIMESTAMP"], list[object]()
        if change.state is not None:
            columns.append("status = %s")
            values.append(change.state.value)
        if change.comment is not None:
            columns.append("comment = %s")
            values.append(shorten_comment(change.comment))
        if change.handled_command is not None:
            columns.append("cmds = IF(cmds = %s, 0, cmds)")
            values.append(int(change.handled_command))
        changed = self._database.execute(
            f"UPDATE jobqueue SET {', '.join(columns)} "
            "WHERE id = %s AND hostname = %s AND status = %s",
            *values,
            row_id,
            host,
            int(state),
        )
        # A second write within a second changes no value, so the server counts no row.
        after = state if change.state is None else change.state.value
        return bool(changed) or self._holds(row_id, host, after)

    def mark_in_use(self, keys: Collection[tuple[int, int]], *, host: str) -> None:
        """Let the marks `jobqueue` of `host` in `inuseprograms` be exactly those of these
        recordings, given as (chanid, start in ms), and refresh them.

        MythTV ignores a mark that was not refreshed for an hour.
        """
        hosts = dict[tuple[int, int], str]()
        for key in keys:
            found = self._database.query(
                "SELECT hostname FROM recorded WHERE chanid = %s AND starttime = %s",
                *RecordingKey(*key).columns,
            )
            hosts[key] = str(found[0]["hostname"]) if found else ""
        with self._database.locked("inuseprograms"):
            self._database.execute(
                "DELETE FROM inuseprograms WHERE recusage = %s AND hostname = %s", _USAGE, host
            )
            self._database.execute_many(
                "INSERT INTO inuseprograms (chanid, starttime, recusage, lastupdatetime, hostname, "
                "rechost, recdir) VALUES (%s, %s, %s, UTC_TIMESTAMP(), %s, %s, '')",
                [
                    (chanid, format_ms(start_ms), _USAGE, host, hosts[chanid, start_ms])
                    for chanid, start_ms in keys
                ],
            )

    def _holds(self, row_id: int, host: str, state: int) -> bool:
        return bool(
            self._database.query(
                "SELECT 1 FROM jobqueue WHERE id = %s AND hostname = %s AND status = %s",
                row_id,
                host,
                int(state),
            )
        )


def _parse(row: Row) -> JobRow:
    args = row["args"]
    recordedid = row["recordedid"]
    return JobRow(
        row_id=int(row["id"]),
        chanid=int(row["chanid"]),
        start_ms=parse_ms(row["starttime"]) or 0,
        inserted_ms=parse_ms(row["inserttime"]) or 0,
        type=int(row["type"]),
        command=int(row["cmds"]),
        flags=int(row["flags"]),
        state=int(row["status"]),
        hostname=str(row["hostname"]),
        arguments=args.decode(errors="replace") if isinstance(args, bytes) else str(args or ""),
        comment=str(row["comment"]),
        not_before_ms=parse_ms(row["schedruntime"]) or 0,
        recordedid=None if recordedid is None else int(recordedid),
    )
