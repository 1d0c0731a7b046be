"""Runs Python text in an interpreter of its own: a program that uses MythSystem."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_HEAD = """
import os, resource, signal, sys, threading, time
from mythjobs.process import *
"""
_SOURCE = str(Path(__file__).parents[3] / "src")
_TIMEOUT_S = 60


def run_script(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `script` after the usual imports; it must end within a minute."""
    environment = {"PYTHONPATH": _SOURCE} | os.environ
    return subprocess.run(
        [sys.executable, "-c", _HEAD + script, *args],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env=environment,
        check=False,
    )


def output_of(script: str, *args: str) -> str:
    """Return what a script prints that must succeed and print nothing to stderr."""
    done = run_script(script, *args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
