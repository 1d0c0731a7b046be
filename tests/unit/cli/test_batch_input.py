import io
import json
from typing import cast

import pytest

from mythjobs.cli.files.batch_input import (
    MAX_LINE_BYTES,
    ArgumentDefaults,
    read_pieces,
    relocate_error,
)
from mythjobs.errors import BadRequest

SHAPE = ArgumentDefaults({}, frozenset({"source"}), "/home/ann")


def buffered(data: bytes) -> io.BufferedReader:
    return cast(io.BufferedReader, io.BufferedReader(io.BytesIO(data)))


def read(
    data: bytes, name: str = "stdin", shape: ArgumentDefaults = SHAPE
) -> list[dict[str, object]]:
    source = buffered(data)
    lines = b"".join(piece for _, piece in read_pieces(source, name, shape, []))
    assert lines.endswith(b"\n")
    return [json.loads(line) for line in lines.splitlines()]


def test_json_lines_are_recognized_by_the_first_character() -> None:
    assert read(b'\n {"a": 1}\n\n{"a": "\\u00e4"}') == [{"a": 1}, {"a": "ä"}]


def test_other_input_is_csv() -> None:
    assert read(b'title,n\r\n"a ""b"",\nc",1\r\n') == [{"title": 'a "b",\nc', "n": "1"}]


def test_csv_may_have_a_byte_order_mark_and_semicolons() -> None:
    data = b"\xef\xbb\xbftitle;n\r\na,b;1\r\n"
    assert read(data, "list.csv") == [{"title": "a,b", "n": "1"}]


def test_an_empty_field_omits_its_parameter() -> None:
    assert read(b"a,b\n1,\n,2\n", "x.csv") == [{"a": "1"}, {"b": "2"}]


def test_paths_are_made_absolute_and_other_values_are_not() -> None:
    lines = b'{"source": "tv/a.ts", "b": "tv/a.ts"}\n{"source": "/a"}\n{"source": 3}\n'
    assert read(lines) == [
        {"source": "/home/ann/tv/a.ts", "b": "tv/a.ts"},
        {"source": "/a"},
        {"source": 3},
    ]


def test_a_line_overrides_common_arguments() -> None:
    shape = SHAPE._replace(values={"preset": "fast", "x": "1"})
    assert read(b'{"preset": "slow"}\n', shape=shape) == [{"preset": "slow", "x": "1"}]


def test_an_error_about_a_set_names_its_line() -> None:
    numbers: list[int] = []
    list(read_pieces(buffered(b"a,b\n1,\n\n2,\n"), "x.csv", SHAPE, numbers))
    assert numbers == [2, 4]
    assert relocate_error("line 2: is\nbad", "x.csv", numbers) == "x.csv line 4: is\nbad"
    assert relocate_error("line 3: is bad", "x.csv", numbers) is None
    assert relocate_error("a batch has 1 to 9 jobs", "x.csv", numbers) is None


def test_a_long_file_is_sent_in_pieces_of_complete_lines() -> None:
    line = json.dumps({"a": "x" * 1000}).encode() + b"\n"
    source = buffered(line * 200)
    found = list(read_pieces(source, "stdin", SHAPE, []))
    assert len(found) > 2
    assert all(piece.endswith(b"\n") and len(piece) < 70_000 for _, piece in found)
    assert [count for count, _ in found] == sorted(count for count, _ in found)
    assert found[-1][0] == 200


@pytest.mark.parametrize(
    "name, data, sentence",
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl line 2: invalid JSON: Expecting value"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1: must be an object"),
        ("a.jsonl", b'{"a": NaN}\n', "a.jsonl line 1: numbers must be finite"),
        ("a.jsonl", b'{"a": "\\ud800"}\n', "a.jsonl line 1: contains a lone surrogate"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl line 1: must be UTF-8"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', 'a.jsonl line 1: the parameter "a" is given twice'),
        ("a.jsonl", b'{"source": ""}\n', 'a.jsonl line 1: the parameter "source" is empty'),
        (
            "a.jsonl",
            b"{}\n{" + b" " * MAX_LINE_BYTES,
            "a.jsonl line 2: must not be longer than 1 MiB",
        ),
        (
            "a.csv",
            b"a\n" + b"x" * (MAX_LINE_BYTES + 1),
            "a.csv line 2: must not be longer than 1 MiB",
        ),
        ("a.jsonl", b"[" * 100_000, "a.jsonl line 1: is nested too deeply"),
        ("a.csv", b"a,b\n1\n", "a.csv line 2: has 1 fields, the header has 2"),
        ("a.csv", b"a,a\n1,2\n", "a.csv line 1: the header must name each column"),
        ("a.csv", b"a,\n1,2\n", "a.csv line 1: the header must name each column"),
        ("a.csv", b'a\n"x\n', "a.csv line 2: invalid CSV"),
        ("a.csv", b"a\n1\n\xe9\n", "must be UTF-8"),
        ("a.csv", b"a\n", "a.csv has no argument sets"),
        ("stdin", b"", "stdin has no argument sets"),
    ],
)
def test_an_error_names_file_and_line(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(BadRequest) as error:
        read(data, name)
    assert sentence in error.value.sentence
