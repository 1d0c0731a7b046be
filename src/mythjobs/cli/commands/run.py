"""`mythjobs run`: run a program as a job, with its output and exit code passed through."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands.run_output import OutputThreads
from mythjobs.cli.commands.submit import check_output_options, describe_submitted
from mythjobs.cli.options import DURATION, SIZE, TEXT, IntegerType
from mythjobs.cli.paths import get_current_directory, is_utf8
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.submit_options import PRINT_ID_OPTION, SubmitOptions, submit_options
from mythjobs.cli.waiting import (
    NEEDS_USER,
    RetryWindow,
    format_held,
    get_reason,
    wait_for_job,
)
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, MythJobsError
from mythjobs.model import outcome as ends
from mythjobs.model.bounds import IO_CLASSES
from mythjobs.model.progress import PRESETS, check_regex
from mythjobs.model.units import format_duration

_EXAMPLES: Final = """Examples:
  mythjobs run -- rsync -a /srv/tv/ backup:/srv/tv/
  mythjobs run --machine attic -- df -h /srv/tv
  mythjobs run --detach --after 12 -- ./upload results
  mythjobs run --wall 10m --priority 20 -- sh -c 'make clean && make'
  mythjobs run --memory 2GiB --processes 200 --nice 10 --io idle -- ./unpack"""
_IO_CLASSES: Final = IO_CLASSES[1:]

# Exit codes as in env(1) and timeout(1).
TIMED_OUT: Final = 124
NOT_STARTED: Final = 125
STOPPED: Final = 128 + signal.SIGTERM
# EX_TEMPFAIL, as another run may succeed: the program's end was not observed, or its machine ended
# it without a user's request.
LOST: Final = 75


class _Terminated(KeyboardInterrupt):
    """Raised on SIGTERM or SIGHUP; handled like Ctrl-C, but the exit code is that of SIGTERM."""


@command("run", epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False})
@click.argument("program", metavar="PROGRAM [ARGUMENT…]", nargs=-1, type=TEXT, required=True)
@click.option("--wall", "wall_s", type=DURATION, metavar="TIME", help="Limit of run time.")
@click.option("--cpu", type=DURATION, metavar="TIME", help="Limit of CPU time.")
@click.option("--idle", type=DURATION, metavar="TIME", help="Limit of time without activity.")
@click.option("--memory", type=SIZE, metavar="SIZE", help="Limit of memory, like 2GiB.")
@click.option("--output", type=SIZE, metavar="SIZE", help="Limit of output.")
@click.option(
    "--processes", type=IntegerType(1, 4_194_304), metavar="N", help="Limit of processes."
)
@click.option("--nice", type=IntegerType(0, 19), help="CPU niceness.")
@click.option(
    "--io", metavar="CLASS", type=click.Choice(_IO_CLASSES), help="idle, or best-effort:0 to 7."
)
@click.option("--grace", type=DURATION, metavar="TIME", help="Time from SIGTERM to SIGKILL.")
@click.option(
    "--best-effort",
    is_flag=True,
    help="Run also where limits of memory and processes are only checked ten times a second.",
)
@click.option(
    "--progress",
    type=click.Choice(PRESETS),
    metavar="NAME",
    help="Preset that finds its progress: ffmpeg, handbrake, rsync, percent, status, …",
)
@click.option(
    "--progress-regex", type=TEXT, metavar="REGEX", help="Expression that finds its progress."
)
@click.option("--retry", is_flag=True, help="Start it again if its machine or reaper fails.")
@submit_options
@click.option("-d", "--detach", is_flag=True, help="Print the job's id and do not wait for it.")
@PRINT_ID_OPTION
@json_option
@pass_session
def run(
    session: Session,
    /,
    program: tuple[str, ...],
    detach: bool,
    print_id: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run a program as a job.

    The program gets this environment, this directory and an empty stdin. Its output appears here
    while it runs. The exit code is the program's; 128 + N if signal N ended it, 124 if it
    exceeded a limit, 125 if it could not be started, 143 if it was cancelled, 75 if its end was
    not observed or its machine ended it, 67 if the job is held. The program is not started a
    second time unless --retry is given. Ctrl-C cancels the job.

    With --detach the job runs on its own; see it with log, wait and show.
    """
    if (as_json or print_id) and not detach:
        raise BadRequest(
            "--json and --print-id need --detach; otherwise the program's output appears here"
        )
    check_output_options(print_id, as_json)
    if (options["hold"] or options["key"] is not None) and not detach:
        raise BadRequest("--hold and --key need --detach; otherwise the program runs now")
    body = _build_body(program, **options)
    if _looks_like_shell_text(program):
        quoted = shlex.quote(program[0])
        terminal.print_message(
            f"no shell reads the arguments; for a shell command use `sh -c {quoted}`"
        )
    if detach:
        submitted = session.client().post("jobs", body)
        if as_json:
            terminal.print_json(submitted)
        elif print_id:
            terminal.print_line(str(submitted["id"]))
        else:
            terminal.print_line(describe_submitted(submitted, options["key"]))
        return 0
    return _run_attached(session, body)


def _build_body(
    program: tuple[str, ...],
    *,
    wall_s: float | None,
    best_effort: bool,
    progress: str | None,
    progress_regex: str | None,
    retry: bool,
    **options: Any,
) -> Json:
    """Return the request that submits the program. Raises BadRequest."""
    try:
        directory = get_current_directory()
    except FileNotFoundError:
        raise BadRequest("the current directory was removed; change to another one") from None
    if not is_utf8(directory):
        raise BadRequest("the current directory's name is not UTF-8; change to another one")
    chosen = SubmitOptions(**{name: options.pop(name) for name in SubmitOptions._fields})
    run = {
        "argv": list(program),
        "env": _read_environment(),
        "cwd": directory,
        "wall_s": wall_s,
        **_format_progress(progress, progress_regex),
    }
    # A master of an older version refuses fields that it does not know.
    run |= {name: True for name, on in (("retry", retry), ("best_effort", best_effort)) if on}
    return {"command": "run", "run": run, **chosen.build_body(_format_limits(options))}


def _looks_like_shell_text(program: tuple[str, ...]) -> bool:
    """Return whether the only argument has spaces or shell syntax, and is no program here."""
    text = program[0]
    return len(program) == 1 and bool(set(text) & set(" |&;<>$*")) and not shutil.which(text)


def _run_attached(session: Session, body: Json) -> int:
    """Submit the job, copy its output until it ends, and return the exit code. A signal cancels
    it."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup(1)
        signal.signal(signal.SIGHUP, _raise_terminated)
    output: OutputThreads | None = None
    try:
        with _signals_blocked():
            submitted = session.client().post("jobs", body)
            job_id = int(submitted["id"])
            if submitted["reason"].startswith("will wait"):
                terminal.print_message(f"job {job_id} {submitted['reason']}")
            output = OutputThreads(session, job_id)
        # A signal that arrived while signals were blocked raises its exception here.
        output.wait()
        job, held = wait_for_job(RetryWindow(session), job_id)
        code, sentence = get_exit_code(job)
        if held is not None:
            code, sentence = NEEDS_USER, format_held(job, held)
    except (KeyboardInterrupt, BrokenPipeError) as end:
        if output is not None:
            _cancel(session, job_id, output)
        if isinstance(end, _Terminated):
            return STOPPED
        raise
    if sentence:
        terminal.print_message(sentence)
    return code


def get_exit_code(job: Json) -> tuple[int, str]:
    """Return the exit code for an ended job, and a message if the program did not exit itself."""
    stored = job["attempts"][-1]["outcome"] if job["attempts"] else None
    if stored is None:
        return NOT_STARTED, f"job {job['id']} was not started: {get_reason(job) or job['state']}"
    outcome = ends.from_json(stored)
    sentence = f"job {job['id']}: {ends.describe(outcome)}"
    match outcome:
        case ends.Exited(code):
            return code, ""
        case ends.Signalled(number):
            return 128 + number, ""
        case ends.Breached():
            return TIMED_OUT, sentence
        case ends.NotStarted():
            return NOT_STARTED, sentence
        case ends.Stopped(by):
            return LOST if by in ends.STOP_REASONS else STOPPED, sentence
        case ends.Lost():
            return LOST, sentence


def _format_limits(given: Mapping[str, Any]) -> dict[str, str | int]:
    """Return limits as text, in the syntax of [limits] in a definition."""
    return {
        name: format_duration(value) or "" if isinstance(value, float) else value
        for name, value in given.items()
        if value is not None
    }


def _format_progress(preset: str | None, regex: str | None) -> dict[str, str]:
    """Return the field `progress` of the request, if an option is given. Raises BadRequest."""
    if preset is not None and regex is not None:
        raise BadRequest("give --progress or --progress-regex, not both")
    if regex is None:
        return {} if preset is None else {"progress": preset}
    try:
        check_regex(regex)
    except ValueError as error:
        raise BadRequest(f"--progress-regex {error}") from None
    return {"progress": f"regex:{regex}"}


def _cancel(session: Session, job_id: int, output: OutputThreads) -> None:
    """Cancel the job and copy its last output until it ends; a second Ctrl-C ends the wait."""
    try:
        session.client().post("jobs/cancel", {"ids": [job_id]})
        wait_for_job(RetryWindow(session), job_id)
        output.wait()
    except KeyboardInterrupt:
        terminal.print_message(
            f"job {job_id} is being cancelled; see its state with `mythjobs show {job_id}`"
        )
    except BrokenPipeError:
        pass
    except MythJobsError as error:
        terminal.print_message(f"job {job_id} may still run: {error.sentence}")


def _read_environment() -> Mapping[str, str]:
    found, invalid = {}, []
    for name, value in os.environb.items():
        try:
            found[name.decode()] = value.decode()
        except UnicodeDecodeError:
            invalid.append(name.decode(errors="replace"))
    if invalid:
        terminal.print_message(
            f"environment variables omitted because they are not UTF-8: {', '.join(invalid)}"
        )
    return found


def _raise_terminated(number: int, frame: object) -> None:
    raise _Terminated


@contextmanager
def _signals_blocked() -> Iterator[None]:
    # Block signals during a submit: after Ctrl-C before the master's answer, the job has no known
    # id and cannot be cancelled.
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
