"""`mythjobs report`: report progress from the script of a job, through its status pipe."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Mapping
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.session import command
from mythjobs.errors import BadRequest

_EXAMPLES: Final = """Examples:
  mythjobs report --progress 42.5 --comment "encoding, pass 2"
  mythjobs report --progress "$((100 * done / total))" --eta 5m10s
  mythjobs report --quiet --progress 50        (in a script that also runs by hand)"""
# The agent keeps at most this many letters. All lines of one report then fit into PIPE_BUF (4096
# bytes, pipe(7)), so that reports of several processes do not mix.
_MAX_COMMENT_LETTERS: Final = 500
# Longest wait while the pipe is full. A reaper reads it every 20 ms.
_MAX_WAIT_MS: Final = 1000


class _PercentType(click.ParamType[float]):
    """Percentage like `42.5`, `42,5` (as printf writes it in some locales) or `42.5%`."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        from mythjobs.model.progress_formats import parse_number

        percent = parse_number(str(value).strip().removesuffix("%"))
        if percent is None:
            self.fail(f'"{value}" is not a percentage; write it like 42.5', param, context)
        return min(max(percent, 0.0), 100.0)


class _SecondsType(click.ParamType[float]):
    """Time left like `310` (seconds), `5m10s` or `5:10`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        from mythjobs.model.progress_formats import parse_time_s
        from mythjobs.model.units import parse_duration

        seconds = parse_time_s(str(value))
        if seconds is None:
            try:
                seconds = parse_duration(str(value))
            except ValueError:
                self.fail(
                    f'"{value}" is not a time; write it like 310 (seconds), 5m10s or 5:10',
                    param,
                    context,
                )
        return max(seconds, 0.0)


@command("report", epilog=_EXAMPLES)
@click.option("--progress", type=_PercentType(), metavar="PERCENT", help="How much is done.")
@click.option("--comment", metavar="TEXT", help="What the job does now.")
@click.option(
    "--eta", "eta_s", type=_SecondsType(), metavar="TIME", help="Time left, like 310 or 5m10s."
)
@click.option("--quiet", is_flag=True, help="Print nothing, and succeed outside a job too.")
def report(progress: float | None, comment: str | None, eta_s: float | None, quiet: bool) -> None:
    """Report the progress of the job whose script calls this.

    The command of the job needs the setting `progress`, like progress = "status". A report that
    nobody can receive prints a message, and does not make the job fail: the exit code is 0. It is 2
    outside a job.
    """
    lines = []
    if progress is not None:
        lines.append(f"progress {progress:g}")
    if comment is not None:
        lines.append(f"comment {terminal.sanitize(comment)[:_MAX_COMMENT_LETTERS]}")
    if eta_s is not None:
        lines.append(f"eta {eta_s:.1f}")
    if not lines:
        raise click.UsageError("give --progress, --comment or --eta", click.get_current_context())
    text = "".join(f"{line}\n" for line in lines)
    # The comment's bytes as given: the agent replaces what is not UTF-8.
    problem = _report(os.environ, os.fsencode(text), quiet)
    if problem and not quiet:
        terminal.print_message(problem)


def _report(environ: Mapping[str, str], text: bytes, quiet: bool) -> str:
    """Write lines to the status pipe of this job. Return why that failed, or "".

    Raises BadRequest outside a job, unless `quiet`.
    """
    job = environ.get("MYTHJOBS_JOB")
    if path := environ.get("MYTHJOBS_STATUS"):
        problem = _write(path, text)
        return f"cannot report to {path}: {problem}; the job continues" if problem else ""
    if job is None and not quiet:
        raise BadRequest(
            "this is not a job of mythjobs (MYTHJOBS_STATUS is not set), so there is nothing to "
            "report to; --quiet makes this no error"
        )
    return (
        f"cannot report the progress of job {job}: its command has no setting `progress`; add "
        'progress = "status" to the definition, or --progress status to `mythjobs run`'
    )


def _write(path: str, text: bytes) -> str:
    """Write to a status pipe, for at most _MAX_WAIT_MS. Return why that failed, or ""."""
    try:
        # O_NONBLOCK: open(2) fails with ENXIO if no reaper has the pipe open, and does not wait.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        gone = error.errno in (errno.ENXIO, errno.ENOENT)
        return "its reader is gone" if gone else f"{error.strerror}"
    try:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        if not poll.poll(_MAX_WAIT_MS):
            return "its reader does not read"
        os.write(fd, text)
    except BlockingIOError:
        return "its reader does not read"
    except OSError as error:
        return "its reader is gone" if error.errno == errno.EPIPE else f"{error.strerror}"
    finally:
        os.close(fd)
    return ""
