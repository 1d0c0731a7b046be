"""`mythjobs run`: a program as a job, as if it were called here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.bytes_out import OutputStream, open_stderr, open_stdout
from mythjobs.cli.commands import ending
from mythjobs.cli.follow import OutputFollower, report_missing_bytes
from mythjobs.cli.options import DURATION, SIZE
from mythjobs.cli.paths import get_current_directory, is_utf8
from mythjobs.cli.session import TEXT, Session, command, pass_session
from mythjobs.cli.waiting import RetryWindow, wait_for_job
from mythjobs.config.hangup import hangup_signals
from mythjobs.errors import BadRequest, MythJobsError
from mythjobs.model.bounds import IO_CLASSES
from mythjobs.model.units import format_duration

_EXAMPLES: Final = """Examples:
  mythjobs run -- rsync -a /srv/tv/ backup:/srv/tv/
  mythjobs run --wall 10m --priority 20 -- sh -c 'make clean && make'
  mythjobs run --memory 2GiB --processes 200 --nice 10 --io idle -- ./unpack"""
IO: Final = IO_CLASSES[1:]


class _Terminated(KeyboardInterrupt):
    """SIGTERM and SIGHUP: end as Ctrl-C does, with the code of a program that it ended."""


@command("run", epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False})
@click.argument("program", metavar="PROGRAM [ARGUMENT…]", nargs=-1, type=TEXT, required=True)
@click.option("--wall", "wall_s", type=DURATION, metavar="TIME", help="End it after this long.")
@click.option("--cpu", type=DURATION, metavar="TIME", help="End it past this much CPU time.")
@click.option("--idle", type=DURATION, metavar="TIME", help="End it if it does nothing so long.")
@click.option("--memory", type=SIZE, metavar="SIZE", help="The most memory, like 2GiB.")
@click.option("--output", type=SIZE, metavar="SIZE", help="The most output.")
@click.option(
    "--processes", type=click.IntRange(1, 4_194_304), metavar="N", help="The most at once."
)
@click.option("--nice", type=click.IntRange(0, 19), help="Be polite about the CPU.")
@click.option("--io", metavar="CLASS", type=click.Choice(IO), help="idle, or best-effort:0 to 7.")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, help="-100 to 100.")
@click.option("--comment", type=TEXT, default="", help="A note, shown with the job.")
@pass_session
def run(
    session: Session,
    /,
    program: tuple[str, ...],
    wall_s: float | None,
    priority: int,
    comment: str,
    **limits: Any,
) -> int:
    """Run a program as a job, as if it were called here.

    It gets this environment and this directory; its stdin is empty. Its output comes here
    while it runs, and its exit code is this command's: 128 + N if signal N ended it, 124 if
    it ran into a limit, 125 if it could not be started, 143 if somebody stopped it. Ctrl-C
    cancels the job.
    """
    try:
        directory = get_current_directory()
    except FileNotFoundError:
        raise BadRequest("the current directory was removed; go to another one") from None
    if not is_utf8(directory):
        raise BadRequest("the name of the current directory is not UTF-8; go to another one")
    what = {"argv": list(program), "env": _read_environment(), "cwd": directory, "wall_s": wall_s}
    body = {
        "command": "run",
        "run": what,
        "priority": priority,
        "comment": comment,
        "limits": _format_limits(limits),
    }
    for number in (signal.SIGTERM, *hangup_signals()):
        signal.signal(number, _raise_terminated)
    streams: _OutputThreads | None = None
    try:
        with _signals_blocked():
            submitted = session.client().post("jobs", body)
            job_id = int(submitted["id"])
            if submitted["reason"].startswith("will wait"):
                terminal.print_message(f"job {job_id} {submitted['reason']}")
            streams = _OutputThreads(session, job_id)
        # A signal that came meanwhile is raised here.
        streams.wait()
        code, sentence = ending.get_exit_code(wait_for_job(RetryWindow(session), job_id))
    except (KeyboardInterrupt, BrokenPipeError) as end:
        if streams is not None:
            _cancel(session, job_id, streams)
        if isinstance(end, _Terminated):
            return ending.STOPPED
        raise
    if sentence:
        terminal.print_message(sentence)
    return code


def _format_limits(given: Mapping[str, Any]) -> dict[str, str | int]:
    """As a definition's [limits] has them."""
    return {
        name: format_duration(value) or "" if isinstance(value, float) else value
        for name, value in given.items()
        if value is not None
    }


class _OutputThreads:
    """Both streams of the job, each followed by a thread."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._errors: list[BaseException] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(session, job_id, *each), daemon=True)
            for each in ((1, open_stdout()), (2, open_stderr()))
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until all of both is passed on. Raises what a thread ran into, as soon as it does."""
        while any(thread.is_alive() for thread in self._threads) and not self._errors:
            self._over.wait()
            self._over.clear()
        if self._errors:
            raise self._errors[0]

    def _follow(self, session: Session, job_id: int, stream: int, to: OutputStream) -> None:
        try:
            # What happens to the job is told once, not for each stream.
            follower = OutputFollower(session, job_id, stream, to.write, quiet=stream == 2)
            report_missing_bytes(follower.count_missing_bytes(follower.follow()))
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._over.set()


def _cancel(session: Session, job_id: int, streams: _OutputThreads) -> None:
    """Ask for its end, and pass on what it says to that; a second Ctrl-C does not wait."""
    try:
        session.client().post("jobs/cancel", {"ids": [job_id]})
        wait_for_job(RetryWindow(session), job_id)
        streams.wait()
    except KeyboardInterrupt:
        terminal.print_message(
            f"job {job_id} was asked to end; `mythjobs show {job_id}` says when it has"
        )
    except BrokenPipeError:
        pass
    except MythJobsError as error:
        terminal.print_message(f"job {job_id} may still run: {error.sentence}")


def _read_environment() -> Mapping[str, str]:
    found, odd = {}, []
    for name, value in os.environb.items():
        try:
            found[name.decode()] = value.decode()
        except UnicodeDecodeError:
            odd.append(name.decode(errors="replace"))
    if odd:
        terminal.print_message(f"left out of the environment, not being UTF-8: {', '.join(odd)}")
    return found


def _raise_terminated(number: int, frame: object) -> None:
    raise _Terminated


@contextmanager
def _signals_blocked() -> Iterator[None]:
    # Between the master's commit and its answer Ctrl-C would leave a job that nobody knows of.
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
