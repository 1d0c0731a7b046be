from dataclasses import replace

import pytest

from mythjobs.errors import ConfigError, Unreachable
from mythjobs.mythtv.database import marks, profiles, settings
from mythjobs.mythtv.database.connection import (
    MythDatabase,
    MythDatabaseError,
    RecordingKey,
    format_ms,
    parse_ms,
    read_schema,
)
from mythjobs.mythtv.database.marks import Mark, MarkType, SeekEntry

KEY = RecordingKey(1002, parse_ms("2026-11-22 17:00:00") or 0)
OTHER = RecordingKey(1001, KEY.start_ms)


def test_the_schema(mythtv: MythDatabase) -> None:
    assert read_schema(mythtv) == 1379


def test_instants_are_utc_and_zero_dates_are_none() -> None:
    assert parse_ms("2026-11-22 17:00:00") == 1795366800000
    assert format_ms(1795366800000) == "2026-11-22 17:00:00"
    assert parse_ms("0000-00-00 00:00:00") is None
    assert parse_ms(None) is None


def test_a_wrong_password_is_an_error_of_the_configuration(mythtv: MythDatabase) -> None:
    wrong = MythDatabase(replace(mythtv.address, password="x", source="/etc/mythtv/config.xml"))
    with pytest.raises(ConfigError, match=r"refuses access.*config\.xml"):
        wrong.query("SELECT 1")


def test_a_server_that_does_not_run(mythtv: MythDatabase) -> None:
    with pytest.raises(Unreachable, match="cannot reach"):
        MythDatabase(replace(mythtv.address, socket="/nonexistent")).query("SELECT 1")


def test_a_lost_connection_is_opened_again(mythtv: MythDatabase) -> None:
    def kill() -> None:
        number = mythtv.query("SELECT CONNECTION_ID() AS n")[0]["n"]
        with MythDatabase(mythtv.address) as other:
            other.execute(f"KILL {number}")

    kill()
    assert mythtv.query("SELECT 1 AS n") == [{"n": 1}]
    kill()
    # A change is not repeated, because it may have been made.
    with pytest.raises(Unreachable, match="lost the connection"):
        mythtv.execute("UPDATE recorded SET watched = 1 WHERE recordedid = 1")
    assert mythtv.execute("UPDATE recorded SET watched = 1 WHERE recordedid = 1") == 1


def test_a_failed_statement_names_the_cause(mythtv: MythDatabase) -> None:
    with pytest.raises(MythDatabaseError, match="1146"):
        mythtv.query("SELECT * FROM nothing")


def test_a_text_that_cannot_be_sent_is_an_error_of_the_statement(mythtv: MythDatabase) -> None:
    with pytest.raises(MythDatabaseError, match="a text that is not valid"):
        mythtv.execute("UPDATE recorded SET title = %s WHERE recordedid = 1", "half \ud83d")
    assert mythtv.query("SELECT title FROM recorded WHERE recordedid = 1")[0]["title"] != ""


def test_settings_of_hosts_and_global_ones(mythtv: MythDatabase) -> None:
    of_all = settings.read_settings(mythtv)
    assert of_all["userjobdesc1"] == "Log all tokens"
    assert "joballowuserjob1" not in of_all
    assert settings.read_settings(mythtv, "mythbox")["joballowuserjob1"] == "1"
    assert settings.list_job_hosts(mythtv) == ["mythbox"]


def test_storage_groups(mythtv: MythDatabase) -> None:
    groups = settings.read_storage_groups(mythtv)
    assert groups["LiveTV", "mythbox"] == ("/srv/recordings/livetv",)


def test_transcode_profiles_and_rules(mythtv: MythDatabase) -> None:
    found = profiles.list_transcode_profiles(mythtv)
    assert [(each.id, each.is_selectable) for each in found] == [
        (21, False), (22, False), (27, True), (28, True), (29, True),
    ]  # fmt: skip
    [rule] = profiles.list_rules(mythtv)
    assert (rule.commflag, rule.metadata, rule.transcode) == (True, True, False)
    assert not any(rule.userjobs)


def test_marks_of_one_kind_are_replaced_and_no_others(mythtv: MythDatabase) -> None:
    bookmark, cut = Mark(77, MarkType.BOOKMARK), Mark(10, MarkType.CUT_START)
    marks.replace_marks(mythtv, KEY, [MarkType.BOOKMARK, MarkType.CUT_START], [bookmark, cut])
    marks.replace_marks(mythtv, OTHER, marks.BREAK_TYPES, [Mark(5, MarkType.COMM_START)])
    breaks = marks.marks_of_ranges([(100, 200), (300, 400)], MarkType.COMM_START, MarkType.COMM_END)
    marks.replace_marks(mythtv, KEY, marks.BREAK_TYPES, breaks)
    assert marks.read_marks(mythtv, KEY) == [cut, bookmark, *breaks]
    marks.replace_marks(mythtv, KEY, marks.BREAK_TYPES, breaks[:2])
    assert marks.read_marks(mythtv, KEY, marks.BREAK_TYPES) == breaks[:2]
    assert len(marks.read_marks(mythtv, OTHER)) == 1


def test_the_seek_table(mythtv: MythDatabase) -> None:
    entries = [SeekEntry(12 * n, 5_000_000_000 + n, MarkType.GOP_BYFRAME) for n in range(1000)]
    marks.replace_seek_table(mythtv, KEY, entries)
    assert marks.read_seek_table(mythtv, KEY) == entries
    marks.replace_seek_table(mythtv, KEY, [])
    assert marks.read_seek_table(mythtv, KEY) == []


@pytest.mark.parametrize(
    "given, ranges",
    [
        ([Mark(1, 4), Mark(9, 5)], ((1, 9),)),
        ([Mark(9, 5)], ((0, 9),)),
        ([Mark(1, 4), Mark(9, 5), Mark(20, 4)], ((1, 9), (20, 2**23))),
        ([Mark(1, 4), Mark(5, 4), Mark(9, 5)], ((1, 9),)),
        ([], ()),
    ],
)
def test_ranges_between_marks(given: list[Mark], ranges: tuple[tuple[int, int], ...]) -> None:
    assert marks.pair_marks(given, MarkType.COMM_START, MarkType.COMM_END) == ranges
