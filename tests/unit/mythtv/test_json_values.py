"""Values of the Services API in any form."""

import pytest

from mythjobs.errors import ProtocolError
from mythjobs.mythtv.json_values import (
    clean_text,
    parse_object,
    read_number,
    read_table,
    read_tables,
    read_text,
)
from mythjobs.mythtv.recording import parse_time


@pytest.mark.parametrize(
    "value, number", [("7", 7), (7, 7), (7.9, 7), ("", 0), (None, 0), (True, 1)]
)
def test_a_number(value: object, number: int) -> None:
    assert read_number({"Id": value}, "Id") == number


@pytest.mark.parametrize("value", ["x", float("inf"), float("nan"), [], {}, "9" * 5000])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ProtocolError, match="as Id"):
        read_number({"Id": value}, "Id")


@pytest.mark.parametrize("value", [None, 5, "x", [1, "x", None], {}])
def test_lists_and_tables_of_any_form(value: object) -> None:
    assert read_tables({"a": value}, "a") == []
    assert read_table({"a": value}, "a") == {}
    assert read_tables({"a": [value, {"b": 1}]}, "a")[-1] == {"b": 1}


def test_texts_have_no_half_characters_and_no_nul() -> None:
    assert clean_text("a\ud83d\0b\U0001f600\n") == "a?b\U0001f600\n"
    assert read_text({"a": None}, "a") == ""
    assert parse_object(b'{"a": "\\udc80"}') == {"a": "\udc80"}
    assert parse_object(b'{"a": "\x01\xff"}') == {"a": "\x01\ufffd"}
    assert parse_object(b"[]") is None


@pytest.mark.parametrize(
    "value",
    ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "now", "\ud83d"],
)
def test_times_that_do_not_exist_in_every_zone(value: str) -> None:
    with pytest.raises(ProtocolError, match="as a time"):
        parse_time(value)
