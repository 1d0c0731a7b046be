"""Many argument sets from one file, JSON lines or CSV, as the JSON lines that the master takes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

from mythjobs.cli.paths import absolute
from mythjobs.errors import BadRequest

Arguments = dict[str, Any]

# Lines are sent in pieces of about this size: one system call for some hundred of them.
_PIECE_BYTES: Final = 65_536
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")


class Shape(NamedTuple):
    """What all sets share, and which parameters are paths, relative to `directory`."""

    shared: Arguments
    paths: frozenset[str]
    directory: str


def pieces(source: io.BufferedReader, name: str, shape: Shape) -> Iterator[tuple[int, bytes]]:
    """The file as JSON lines in pieces, each with how many sets were read so far.

    Nothing is read ahead, so a pipe may be as long as it likes. Raises BadRequest that names
    the file and the line.
    """
    count, lines, size = 0, list[bytes](), 0
    try:
        for line, arguments in _sets(source, name):
            written = _write(arguments, name, line, shape)
            count, size = count + 1, size + len(written)
            lines.append(written)
            if size >= _PIECE_BYTES:
                yield count, b"".join(lines)
                lines, size = [], 0
    except OSError as error:
        raise BadRequest(f"{name} cannot be read: {error.strerror}") from None
    if count == 0:
        raise BadRequest(f"{name} has no argument sets: it is empty")
    if lines:
        yield count, b"".join(lines)


def _sets(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    if name.lower().endswith(".csv"):
        return _csv_sets(source, name)
    if name.lower().endswith(_JSON_SUFFIXES):
        return _json_sets(source, name)
    begins = source.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
    return (_json_sets if begins[:1] in (b"{", b"[", b"") else _csv_sets)(source, name)


def _json_sets(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    for line, data in enumerate(source, start=1):
        if not data.strip():
            continue
        try:
            value = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        except UnicodeDecodeError:
            raise BadRequest(f"{name} line {line}: is not UTF-8 text") from None
        except ValueError as error:
            raise BadRequest(f"{name} line {line}: is not JSON: {error}") from None
        except RecursionError:
            raise BadRequest(f"{name} line {line}: is nested too deeply") from None
        if not isinstance(value, dict):
            raise BadRequest(
                f'{name} line {line}: each line is an object of arguments, like {{"source": "…"}}'
            )
        yield line, value


def _csv_sets(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    """An empty field leaves its parameter out, so that its default holds."""
    text = io.TextIOWrapper(source, "utf-8-sig", newline="")
    rows, line = csv.reader([""]), 1
    try:
        first = text.readline()
        marks = [mark for mark in ",;\t" if mark in first]
        rows = csv.reader(chain([first], text), delimiter=marks[0] if marks else ",", strict=True)
        header = next(rows, [])
        if first and (not all(header) or len(set(header)) < len(header)):
            raise BadRequest(f"{name} line 1: the header needs a name for each column, each once")
        for row in rows:
            line = rows.line_num
            if row and len(row) != len(header):
                raise BadRequest(
                    f"{name} line {line}: has {len(row)} fields, the header has {len(header)}"
                )
            if row:
                yield line, {key: field for key, field in zip(header, row, strict=True) if field}
    except UnicodeDecodeError:
        raise BadRequest(f"{name} line {rows.line_num + 1}: is not UTF-8 text") from None
    except csv.Error as error:
        raise BadRequest(f"{name} line {rows.line_num}: is not CSV: {error}") from None
    finally:
        text.detach()  # the file is its opener's to close


def _write(arguments: Arguments, name: str, line: int, shape: Shape) -> bytes:
    for path in shape.paths & arguments.keys():
        if isinstance(arguments[path], str):
            arguments[path] = absolute(arguments[path], shape.directory)
    if shape.shared:
        arguments = {**shape.shared, **arguments}
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        raise BadRequest(f"{name} line {line}: has half a character (a lone \\ud…)") from None
    except ValueError:
        raise BadRequest(f"{name} line {line}: a number is not finite") from None
