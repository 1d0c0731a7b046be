"""Transcode profiles, and the automatic jobs of recording rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mythjobs.mythtv.database.connection import MythDatabase

# Two profiles of the group `Transcoders` that only autodetection uses; users cannot select them.
AUTODETECT_ONLY: Final = ("RTjpeg/MPEG4", "MPEG2")


@dataclass(frozen=True, slots=True)
class TranscodeProfile:
    """A profile of MythTV's group `Transcoders`. is_saved: it has parameters of its codec; without
    them mythtranscode fails, which is the state of a new installation."""

    id: int
    name: str
    is_saved: bool = False

    @property
    def is_selectable(self) -> bool:
        return self.name not in AUTODETECT_ONLY


@dataclass(frozen=True, slots=True)
class RuleJobs:
    """A recording rule, with the jobs that it starts. type 11 is a template for new rules."""

    id: int
    type: int
    title: str = ""
    transcode: bool = False
    commflag: bool = False
    metadata: bool = False
    userjobs: tuple[bool, bool, bool, bool] = (False, False, False, False)
    transcoder: int = 0

    @property
    def has_jobs(self) -> bool:
        return self.transcode or self.commflag or self.metadata or any(self.userjobs)


def list_transcode_profiles(database: MythDatabase) -> list[TranscodeProfile]:
    rows = database.query(
        "SELECT p.id, p.name, COUNT(c.name) AS saved FROM recordingprofiles p "
        "JOIN profilegroups g ON g.id = p.profilegroup "
        "LEFT JOIN codecparams c ON c.profile = p.id "
        "WHERE g.cardtype = 'TRANSCODE' GROUP BY p.id, p.name ORDER BY p.id"
    )
    return [
        TranscodeProfile(int(each["id"]), str(each["name"] or ""), bool(each["saved"]))
        for each in rows
    ]


def list_rules(database: MythDatabase) -> list[RuleJobs]:
    rows = database.query(
        "SELECT recordid, type, title, autotranscode, autocommflag, autometadata, "
        "autouserjob1, autouserjob2, autouserjob3, autouserjob4, transcoder FROM record "
        "ORDER BY recordid"
    )
    return [
        RuleJobs(
            id=int(each["recordid"]),
            type=int(each["type"]),
            title=str(each["title"] or ""),
            transcode=bool(each["autotranscode"]),
            commflag=bool(each["autocommflag"]),
            metadata=bool(each["autometadata"]),
            userjobs=(
                bool(each["autouserjob1"]),
                bool(each["autouserjob2"]),
                bool(each["autouserjob3"]),
                bool(each["autouserjob4"]),
            ),
            transcoder=int(each["transcoder"] or 0),
        )
        for each in rows
    ]
