"""Entry point of the command line: exit codes for all errors, on stdout and stderr of any kind.

Two commands run without click. For `mythjobs status`, which scripts and status bars call again and
again, click's import and parameters take as long as all the rest. In `mythjobs agent`, which runs
for months on each machine, they take 1.7 MB of memory.
"""

from __future__ import annotations

import codecs
import errno
import os
import sys
from importlib import import_module
from typing import Final

from mythjobs.cli import connect, quick_agent, quick_status, terminal
from mythjobs.errors import MythJobsError

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
_COMPLETION_VARIABLE: Final = "_MYTHJOBS_COMPLETE"
# What is printed where the locale cannot encode these marks. Any other letter is a question mark.
_SUBSTITUTES: Final = {"✔": "yes", "✘": "no", "✓": "+", "–": "-", "…": "..."}


def main() -> int:
    """Run the program; docs/cli.md lists its exit codes."""
    if _COMPLETION_VARIABLE in os.environ:
        from mythjobs.cli import program

        program.print_completions(_COMPLETION_VARIABLE)
    return run(sys.argv[1:])


def load(arguments: list[str]) -> None:
    """Import what most command lines need, so that Ctrl-C does not interrupt these imports."""
    if quick_status.parse(arguments) is None and quick_agent.parse(arguments) is None:
        import_module("mythjobs.cli.program")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code, for every kind of error."""
    try:
        _prepare_streams()
        code = _run(arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MythJobsError as error:
        terminal.print_message(error.sentence)
        code = error.exit_code
    except OSError as error:
        code = _report_os_error(error)
    except Exception:
        code = _report_internal_error()
    return _flush_stdout(code)


def _run(arguments: list[str]) -> int:
    if (status := quick_status.parse(arguments)) is not None:
        quick_status.run(status)
        return os.EX_OK
    if (agent := quick_agent.parse(arguments)) is not None:
        quick_agent.run(agent)
        return os.EX_OK
    from mythjobs.cli import program

    return program.invoke(arguments)


def _prepare_streams() -> None:
    # The calling process may have closed a stream. stdin is first, so that no other file gets its
    # descriptor.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open until the exit)
    codecs.register_error("mythjobs", _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="mythjobs")


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Return what to print instead of letters that the locale cannot encode."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(each, "?") for each in text), error.end


def _flush_stdout(code: int) -> int:
    """Flush stdout. Return `code`, or the exit code of a write error (closed pipe, full disk)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _report_write_error(error)
    except ValueError:  # stdout is closed
        pass
    return code


def _report_os_error(error: OSError) -> int:
    if error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO):
        return _report_write_error(error)
    from mythjobs.config.os_errors import explain_os_error, is_disk_error

    if error.filename is None or not is_disk_error(error):
        return _report_internal_error()
    explained = explain_os_error(error, error.filename)
    terminal.print_message(explained.sentence)
    return explained.exit_code


def _report_write_error(error: OSError) -> int:
    terminal.redirect_to_null(1)
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    terminal.print_message(f"cannot write to stdout: {error.strerror}")
    return os.EX_IOERR


def _report_internal_error() -> int:
    import traceback

    traceback.print_exc()
    if difference := connect.describe_difference():
        terminal.print_message(f"internal error, perhaps as {difference}")
    else:
        terminal.print_message(
            "internal error in mythjobs; please report it with the traceback above"
        )
    return os.EX_SOFTWARE
