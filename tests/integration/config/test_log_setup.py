"""Logs of a process: formats, fields, and journald's priorities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging
from mythjobs.config.log_setup import set_up_logging
set_up_logging("master")
log = logging.getLogger("x")
log.debug("hidden")
log.warning("job %d is late", 12, extra={"job": 12, "machine": None})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""
SRC = Path(__file__).parents[3] / "src"


def run(path: Path, **environ: str) -> tuple[int, list[str]]:
    """Run the program with stderr in a file; return its exit code and the lines."""
    with path.open("wb") as file:
        facts = os.fstat(file.fileno())
        for name, value in environ.items():
            environ[name] = value.format(file=f"{facts.st_dev}:{facts.st_ino}")
        clean = {key: value for key, value in os.environ.items() if key != "MYTHJOBS_LOG_FORMAT"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stderr=file,
            env=clean | environ | {"PYTHONPATH": str(SRC)},
            check=False,
        )
    return done.returncode, path.read_text().splitlines()


def test_the_environment_chooses_the_format(tmp_path: Path) -> None:
    _, text = run(tmp_path / "log")
    assert text[0].endswith(" master: job 12 is late")
    assert text[1].endswith(" master: failed")
    assert text[2] == "Traceback (most recent call last):"
    _, lines = run(tmp_path / "log", MYTHJOBS_LOG_FORMAT="json")
    first, second = [json.loads(line) for line in lines]
    assert (first["msg"], first["job"], first["level"]) == ("job 12 is late", 12, "warning")
    assert "machine" not in first
    assert "ZeroDivisionError" in second["traceback"]


def test_the_journal_gets_priorities_and_one_line_an_event(tmp_path: Path) -> None:
    _, lines = run(tmp_path / "log", JOURNAL_STREAM="{file}")
    assert len(lines) == 2
    assert lines[0] == '<4>level=warning program=master msg="job 12 is late" job=12'
    assert lines[1].startswith('<3>level=error program=master msg=failed traceback="Traceback')
    # Another file than the journal's: stderr was redirected.
    _, lines = run(tmp_path / "log", JOURNAL_STREAM="1:1")
    assert not lines[0].startswith("<")


def test_an_unknown_format_is_an_error(tmp_path: Path) -> None:
    code, lines = run(tmp_path / "log", MYTHJOBS_LOG_FORMAT="xml")
    assert code != 0
    assert 'MYTHJOBS_LOG_FORMAT="xml" is none of text, logfmt, json' in lines[-1]
