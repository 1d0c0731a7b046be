"""`mythjobs`: the commands there are, and what the program exits with."""

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

# In the order of the help: what one starts, defines, submits, looks at, acts on.
COMMANDS: Final = {
    "up": "mythjobs.cli.commands.services:up",
    "master": "mythjobs.cli.commands.services:master",
    "agent": "mythjobs.cli.commands.services:agent",
    "command": "mythjobs.cli.commands.command:command_group",
    "submit": "mythjobs.cli.commands.submit:submit",
    "run": "mythjobs.cli.commands.run:run",
    "status": "mythjobs.cli.commands.status:status",
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
    "machines": "mythjobs.cli.commands.machines:machines",
    "machine": "mythjobs.cli.commands.machines:machine",
    "semaphore": "mythjobs.cli.commands.semaphore:semaphore_group",
    "what-if": "mythjobs.cli.commands.what_if:what_if",
    "prune": "mythjobs.cli.commands.maintenance:prune",
    "backup": "mythjobs.cli.commands.maintenance:backup",
    "restore": "mythjobs.cli.commands.restore:restore",
    "check": "mythjobs.cli.commands.maintenance:check",
    "completion": "mythjobs.cli.commands.completion:completion",
}

group = LazyGroup(
    "mythjobs",
    lazy=COMMANDS,
    params=[state_dir_option(hidden=False)],
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="Run external commands on the machines that are there. `mythjobs up` starts a queue "
    "on this machine; then define commands from files, submit jobs and follow them.",
)
click.version_option(__version__, prog_name="mythjobs")(group)


def main() -> int:
    """The program. Its exit codes stand in docs/cli.md."""
    if "_MYTHJOBS_COMPLETE" in os.environ:
        group.main(prog_name="mythjobs", complete_var="_MYTHJOBS_COMPLETE")
    return run(sys.argv[1:])


def run(arguments: list[str]) -> int:
    """Carry out one command line; every end of it comes back as an exit code."""
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
    # Not group.main(): it has words of its own for errors, and 1 for a broken pipe.
    try:
        with group.make_context("mythjobs", arguments, obj=Session()) as context:
            result = group.invoke(context)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        sentence = error.format_message().rstrip(".")
        context_of = getattr(error, "ctx", None)
        where = context_of.command_path if context_of else "mythjobs"
        terminal.print_message(f"{sentence[:1].lower()}{sentence[1:]}; see `{where} --help`")
        return error.exit_code


def _prepare_streams() -> None:
    # A locale that cannot write ✔ gets a question mark; it must not end the program.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as we live)
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush_stdout(code: int) -> int:
    """What is still buffered. The reader of a pipe may have gone, as `| head` does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _report_write_error(error)
    except ValueError:  # closed
        pass
    return code


def _report_write_error(error: OSError) -> int:
    terminal.redirect_to_null(1)
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    terminal.print_message(f"the answer cannot be written: {error.strerror}")
    return os.EX_IOERR


def _report_internal_error() -> int:
    import traceback

    traceback.print_exc()
    terminal.print_message(
        "this is a fault of mythjobs itself; please report it with the lines above"
    )
    return os.EX_SOFTWARE
