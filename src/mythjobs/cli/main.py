"""Entry point of the command line: the table of commands, and exit codes for all errors."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

import click

from mythjobs import __version__
from mythjobs.cli import terminal
from mythjobs.cli.session import LazyGroup, Session, state_dir_option
from mythjobs.errors import MythJobsError

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

COMMANDS: Final = {
    "Queue": {
        "up": "mythjobs.cli.commands.services:up",
        "master": "mythjobs.cli.commands.services:master",
        "agent": "mythjobs.cli.commands.agent:agent",
        "status": "mythjobs.cli.commands.status:status",
    },
    "Jobs": {
        "submit": "mythjobs.cli.commands.submit:submit",
        "run": "mythjobs.cli.commands.run:run",
        "jobs": "mythjobs.cli.commands.jobs:jobs",
        "show": "mythjobs.cli.commands.jobs:show",
        "why": "mythjobs.cli.commands.why:why",
        "log": "mythjobs.cli.commands.log:log",
        "wait": "mythjobs.cli.commands.wait:wait",
        "cancel": "mythjobs.cli.commands.job_actions:cancel",
        "hold": "mythjobs.cli.commands.job_actions:hold",
        "release": "mythjobs.cli.commands.job_actions:release",
        "rerun": "mythjobs.cli.commands.job_actions:rerun",
        "pause": "mythjobs.cli.commands.job_actions:pause",
        "resume": "mythjobs.cli.commands.job_actions:resume",
        "report": "mythjobs.cli.commands.report:report",
    },
    "Commands": {
        "command": "mythjobs.cli.commands.command:command_group",
    },
    "Machines": {
        "machines": "mythjobs.cli.commands.machines:machines",
        "machine": "mythjobs.cli.commands.machines:machine",
        "lan": "mythjobs.cli.commands.lan:lan_group",
        "semaphore": "mythjobs.cli.commands.semaphore:semaphore_group",
    },
    "Maintenance": {
        "what-if": "mythjobs.cli.commands.what_if:what_if",
        "prune": "mythjobs.cli.commands.maintenance:prune",
        "backup": "mythjobs.cli.commands.maintenance:backup",
        "restore": "mythjobs.cli.commands.restore:restore",
        "check": "mythjobs.cli.commands.maintenance:check",
        "completion": "mythjobs.cli.commands.completion:completion",
    },
}
_OVERVIEW: Final = """\
Usage: mythjobs COMMAND [ARGUMENT…]

  Run external commands as jobs on one or more machines. First steps:

  mythjobs up                 Start a queue on this machine.
  mythjobs command add FILE   Define a command from a TOML file.
  mythjobs submit COMMAND     Submit a job of that command.
  mythjobs jobs               List the jobs: state, progress, reason.
  mythjobs log JOB            Show the output of a job.

  `mythjobs --help` lists all commands, `mythjobs COMMAND --help` explains one."""

group = LazyGroup(
    "mythjobs",
    sections=COMMANDS,
    params=[state_dir_option(hidden=False)],
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="Run external commands as jobs on one or more machines. `mythjobs up` starts a queue on "
    "this machine; then define commands from files, submit jobs and follow them.",
)
click.version_option(__version__, prog_name="mythjobs")(group)


def main() -> int:
    """Run the program; docs/cli.md lists its exit codes."""
    if "_MYTHJOBS_COMPLETE" in os.environ:
        group.main(prog_name="mythjobs", complete_var="_MYTHJOBS_COMPLETE")
    return run(sys.argv[1:])


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code, for every kind of error."""
    try:
        _prepare_streams()
        code = _invoke(arguments)
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except MythJobsError as error:
        terminal.print_message(error.sentence)
        code = error.exit_code
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            code = _report_internal_error()
        else:
            code = _report_write_error(error)
    except Exception:
        code = _report_internal_error()
    return _flush_stdout(code)


def _invoke(arguments: list[str]) -> int:
    # group.main() is not used: it formats errors differently and exits with 1 for a broken pipe.
    try:
        with group.make_context("mythjobs", arguments, obj=Session()) as context:
            result = group.invoke(context)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        if error.ctx is not None and error.ctx.command is group:
            print(_OVERVIEW, file=sys.stderr)
        else:
            error.show()
        return error.exit_code
    except click.ClickException as error:
        sentence = error.format_message().rstrip(".")
        context_of = getattr(error, "ctx", None)
        where = context_of.command_path if context_of else "mythjobs"
        terminal.print_message(f"{sentence[:1].lower()}{sentence[1:]}; see `{where} --help`")
        return error.exit_code


def _prepare_streams() -> None:
    # Where the locale cannot encode ✔, print a question mark instead of failing.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the calling process has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the exit)
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush_stdout(code: int) -> int:
    """Flush stdout. Return `code`, or the exit code of a write error (closed pipe, full disk)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _report_write_error(error)
    except ValueError:  # stdout is closed
        pass
    return code


def _report_write_error(error: OSError) -> int:
    terminal.redirect_to_null(1)
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    terminal.print_message(f"cannot write to stdout: {error.strerror}")
    return os.EX_IOERR


def _report_internal_error() -> int:
    import traceback

    traceback.print_exc()
    terminal.print_message("internal error in mythjobs; please report it with the traceback above")
    return os.EX_SOFTWARE
