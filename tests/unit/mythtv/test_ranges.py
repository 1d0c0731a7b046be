from collections.abc import Callable

import pytest

from mythjobs.errors import BadRequest
from mythjobs.mythtv.parameters import OPEN_END
from mythjobs.mythtv.writeback.ranges import Ranges, parse_comskip, parse_edl, parse_frames

COMSKIP = """FILE PROCESSING COMPLETE   6900 FRAMES AT  2500
-------------------
100	2200
4000	6900
"""


@pytest.mark.parametrize(
    "text, ranges",
    [
        ("0-100,2500-2600", ((0, 100), (2500, 2600))),
        ("2500-2600, 0-100", ((0, 100), (2500, 2600))),
        ("0-100,50-200,200-300", ((0, 300),)),
        ("-100,2500-", ((0, 100), (2500, OPEN_END))),
        ("", ()),
        ("5-5", ((5, 5),)),
    ],
)
def test_frames(text: str, ranges: Ranges) -> None:
    assert parse_frames(text) == ranges


@pytest.mark.parametrize("text", ["-", "a-b", "100", "200-100", "1--2", "0-99999999", "1-2;3-4"])
def test_text_that_is_no_range(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_frames(text)


def test_an_edit_list() -> None:
    text = "4.00\t88.5\t0\n100 104.02 3\n110 120 1\n200 201\n\n"
    assert parse_edl(text, 25.0) == ((100, 2212), (2500, 2600), (5000, 5025))


def test_an_edit_list_may_be_written_in_each_way_that_kodi_reads() -> None:
    text = """## comment
#100 #2212 0
01:40 1:44.08 3
0:03:20.0 201 0
240 300 2
5:00.1 2
360 2
"""
    assert parse_edl(text, 25.0) == ((100, 2212), (2500, 2602), (5000, 5025))


@pytest.mark.parametrize(
    "line", ["1:2:3:4 5 0", "# 5 0", "1 2 3 4", "-1 2 0", "1:60.5: 2 0", "1 :2"]
)
def test_a_time_that_no_edit_list_has(line: str) -> None:
    with pytest.raises(BadRequest, match="line 1 of the edit list"):
        parse_edl(line, 25.0)


@pytest.mark.parametrize("parse", [lambda text: parse_edl(f"1 {text} 0", 25.0), parse_frames])
def test_numbers_of_any_length_are_refused(parse: Callable[[str], Ranges]) -> None:
    with pytest.raises(BadRequest):
        parse("9" * 5000)
    with pytest.raises(BadRequest):
        parse_comskip(f"{COMSKIP}1 {'9' * 5000}")


def test_an_edit_list_needs_the_frame_rate() -> None:
    with pytest.raises(BadRequest, match="--fps"):
        parse_edl("1 2 3", 0.0)


def test_a_line_that_is_none_of_an_edit_list() -> None:
    with pytest.raises(BadRequest, match='line 2 of the edit list, "x"'):
        parse_edl("1 2 3\nx", 25.0)


def test_the_output_of_comskip() -> None:
    assert parse_comskip(COMSKIP) == ((100, 2200), (4000, 6900))
    assert parse_comskip(COMSKIP.partition("100\t")[0]) == ()
    # Its first versions wrote neither the number of frames nor their rate.
    assert parse_comskip("FILE PROCESSING COMPLETE\n------\n100\t2200\n") == ((100, 2200),)


@pytest.mark.parametrize("text", ["", "100 2200", COMSKIP + "end"])
def test_a_file_that_comskip_did_not_write(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_comskip(text)
