"""Many argument sets from one file, JSON lines or CSV, as the JSON lines that the master takes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, AnyStr, Final, NamedTuple

from mythjobs.cli.paths import resolve_path_argument
from mythjobs.errors import BadRequest

Arguments = dict[str, Any]

# Lines are sent in pieces of about this size: one system call for some hundred of them.
_PIECE_BYTES: Final = 65_536
# A line is held in memory; what has no end, like /dev/zero, is refused.
MAX_LINE_BYTES: Final = 2**20
_PLACE: Final = re.compile(r"line (\d+): (.*)", re.DOTALL)
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")


class ArgumentDefaults(NamedTuple):
    """What all sets share, and which parameters are paths, relative to `directory`."""

    values: Arguments
    path_names: frozenset[str]
    directory: str


def read_pieces(
    source: io.BufferedReader, name: str, defaults: ArgumentDefaults, line_numbers: list[int]
) -> Iterator[tuple[int, bytes]]:
    """The file as JSON lines in pieces, each with how many sets were read so far.

    Nothing is read ahead, so a pipe may be as long as it likes. `numbers` gets the line of the
    file for each set. Raises BadRequest that names the file and the line.
    """
    count, lines, size = 0, list[bytes](), 0
    try:
        for line, arguments in _read_sets(source, name):
            written = _encode_set(arguments, name, line, defaults)
            count, size = count + 1, size + len(written)
            lines.append(written)
            line_numbers.append(line)
            if size >= _PIECE_BYTES:
                yield count, b"".join(lines)
                lines, size = [], 0
    except OSError as error:
        raise BadRequest(f"{name} cannot be read: {error.strerror}") from None
    if count == 0:
        raise BadRequest(f"{name} has no argument sets: it is empty")
    if lines:
        yield count, b"".join(lines)


def relocate_error(sentence: str, name: str, line_numbers: list[int]) -> str | None:
    """What the master says of a line it was sent, as said of the file; None if of no line."""
    found = _PLACE.fullmatch(sentence)
    if found is None or not 0 < int(found[1]) <= len(line_numbers):
        return None
    return f"{name} line {line_numbers[int(found[1]) - 1]}: {found[2]}"


def _read_sets(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    if name.lower().endswith(".csv"):
        return _read_csv(source, name)
    if name.lower().endswith(_JSON_SUFFIXES):
        return _read_json_lines(source, name)
    begins = source.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
    return (_read_json_lines if begins[:1] in (b"{", b"[", b"") else _read_csv)(source, name)


def _read_lines(source: IO[AnyStr], name: str) -> Iterator[AnyStr]:
    line = 0
    while data := source.readline(MAX_LINE_BYTES + 1):
        line += 1
        if len(data) > MAX_LINE_BYTES:
            raise BadRequest(f"{name} line {line}: is longer than {MAX_LINE_BYTES >> 20} MiB")
        yield data


def _read_json_lines(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    for line, data in enumerate(_read_lines(source, name), start=1):
        if not data.strip():
            continue
        try:
            value = json.loads(
                data.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_refuse_duplicates
            )
        except BadRequest as error:
            raise BadRequest(f"{name} line {line}: {error.sentence}") from None
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


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> Arguments:
    found: Arguments = {}
    for key, value in pairs:
        if key in found:
            raise BadRequest(f'the parameter "{key}" is given twice')
        found[key] = value
    return found


def _read_csv(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    """An empty field leaves its parameter out, so that its default holds."""
    text = io.TextIOWrapper(source, "utf-8-sig", newline="")
    rows, line = csv.reader([""]), 1
    try:
        lines = _read_lines(text, name)
        first = next(lines, "")
        marks = [mark for mark in ",;\t" if mark in first]
        rows = csv.reader(chain([first], lines), delimiter=marks[0] if marks else ",", strict=True)
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


def _encode_set(arguments: Arguments, name: str, line: int, defaults: ArgumentDefaults) -> bytes:
    for path in defaults.path_names & arguments.keys():
        if isinstance(arguments[path], str):
            try:
                arguments[path] = resolve_path_argument(path, arguments[path], defaults.directory)
            except BadRequest as error:
                raise BadRequest(f"{name} line {line}: {error.sentence}") from None
    if defaults.values:
        arguments = {**defaults.values, **arguments}
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        raise BadRequest(f"{name} line {line}: has half a character (a lone \\ud…)") from None
    except ValueError:
        raise BadRequest(f"{name} line {line}: a number is not finite") from None
