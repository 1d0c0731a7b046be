"""Batch input: reads the arguments of each job from JSON lines or CSV, writes JSON lines."""

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

# Lines are sent in pieces of about this size: one system call for some hundred lines.
_PIECE_BYTES: Final = 65_536
# A line is read into memory; an endless one, like /dev/zero, must be refused.
MAX_LINE_BYTES: Final = 2**20
_LINE_PREFIX: Final = re.compile(r"line (\d+): (.*)", re.DOTALL)
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")


class ArgumentDefaults(NamedTuple):
    """Arguments common to all jobs of a batch.

    path_names: parameters that are paths; relative paths are below `directory`. inputs: those whose
    file must exist where a job runs.
    """

    values: Arguments
    path_names: frozenset[str]
    directory: str
    inputs: frozenset[str] = frozenset()


def read_pieces(
    source: io.BufferedReader, name: str, defaults: ArgumentDefaults, line_numbers: list[int]
) -> Iterator[tuple[int, bytes]]:
    """Yield JSON lines in pieces, each with the number of jobs read so far.

    The file is read while it is sent, so it is not held in memory. Appends the line number of
    each job to `line_numbers`. Raises BadRequest that names the file and the line.
    """
    from mythjobs.protocol.requests import MAX_BATCH_JOBS

    count, lines, size = 0, list[bytes](), 0
    try:
        for line, arguments in _read_sets(source, name):
            if count == MAX_BATCH_JOBS:
                raise BadRequest(
                    f"{name} has more than {MAX_BATCH_JOBS} argument sets, the most of a batch; "
                    "split it"
                )
            encoded = _encode_set(arguments, name, line, defaults)
            count, size = count + 1, size + len(encoded)
            lines.append(encoded)
            line_numbers.append(line)
            if size >= _PIECE_BYTES:
                yield count, b"".join(lines)
                lines, size = [], 0
    except OSError as error:
        raise BadRequest(f"cannot read {name}: {error.strerror}") from None
    if count == 0:
        raise BadRequest(f"{name} has no argument sets: it is empty")
    if lines:
        yield count, b"".join(lines)


def relocate_error(sentence: str, name: str, line_numbers: list[int]) -> str | None:
    """Return the master's error with the number of a line in the user's file.

    The master counts the lines sent, without empty lines and the CSV header. Returns None if the
    error has no line number.
    """
    found = _LINE_PREFIX.fullmatch(sentence)
    if found is None or not 0 < int(found[1]) <= len(line_numbers):
        return None
    return f"{name} line {line_numbers[int(found[1]) - 1]}: {found[2]}"


def _read_sets(source: io.BufferedReader, name: str) -> Iterator[tuple[int, Arguments]]:
    if name.lower().endswith(".csv"):
        return _read_csv(source, name)
    if name.lower().endswith(_JSON_SUFFIXES):
        return _read_json_lines(source, name)
    start = source.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
    return (_read_json_lines if start[:1] in (b"{", b"[", b"") else _read_csv)(source, name)


def _read_lines(source: IO[AnyStr], name: str) -> Iterator[AnyStr]:
    line = 0
    while data := source.readline(MAX_LINE_BYTES + 1):
        line += 1
        if len(data) > MAX_LINE_BYTES:
            raise BadRequest(
                f"{name} line {line}: must not be longer than {MAX_LINE_BYTES >> 20} MiB"
            )
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
            raise BadRequest(f"{name} line {line}: must be UTF-8 text") from None
        except ValueError as error:
            raise BadRequest(f"{name} line {line}: invalid JSON: {error}") from None
        except RecursionError:
            raise BadRequest(f"{name} line {line}: is nested too deeply") from None
        if not isinstance(value, dict):
            raise BadRequest(
                f'{name} line {line}: must be an object of arguments, like {{"source": "…"}}'
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
    """Read CSV; an empty field omits its parameter, so that the default applies."""
    text = io.TextIOWrapper(source, "utf-8-sig", newline="")
    rows, line = csv.reader([""]), 1
    try:
        lines = _read_lines(text, name)
        first = next(lines, "")
        delimiters = [each for each in ",;\t" if each in first]
        rows = csv.reader(
            chain([first], lines), delimiter=delimiters[0] if delimiters else ",", strict=True
        )
        header = next(rows, [])
        if first and (not all(header) or len(set(header)) < len(header)):
            raise BadRequest(f"{name} line 1: the header must name each column, without duplicates")
        for row in rows:
            line = rows.line_num
            if row and len(row) != len(header):
                raise BadRequest(
                    f"{name} line {line}: has {len(row)} fields, the header has {len(header)}"
                )
            if row:
                yield line, {key: field for key, field in zip(header, row, strict=True) if field}
    except UnicodeDecodeError:
        raise BadRequest(f"{name} line {rows.line_num + 1}: must be UTF-8 text") from None
    except csv.Error as error:
        raise BadRequest(f"{name} line {rows.line_num}: invalid CSV: {error}") from None
    finally:
        text.detach()  # leaves `source` open: the caller closes it


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
        raise BadRequest(f"{name} line {line}: contains a lone surrogate (\\ud…)") from None
    except ValueError:
        raise BadRequest(f"{name} line {line}: numbers must be finite") from None
