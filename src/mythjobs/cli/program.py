"""Commands of the command line: the table of all commands, and their invocation through click."""

from __future__ import annotations

import sys
from typing import Final

import click

from mythjobs import __version__
from mythjobs.cli import terminal
from mythjobs.cli.session import LazyGroup, Session, state_dir_option

COMMANDS: Final = {
    "Queue": {
        "up": "mythjobs.cli.commands.services:up",
        "master": "mythjobs.cli.commands.services:master",
        "agent": "mythjobs.cli.commands.agent:agent",
        "status": "mythjobs.cli.commands.services:status",
    },
    "Jobs": {
        "submit": "mythjobs.cli.commands.submit:submit",
        "run": "mythjobs.cli.commands.run:run",
        "watch": "mythjobs.cli.commands.watch:watch",
        "jobs": "mythjobs.cli.commands.jobs:jobs",
        "show": "mythjobs.cli.commands.jobs:show",
        "why": "mythjobs.cli.commands.why:why",
        "log": "mythjobs.cli.commands.log:log",
        "wait": "mythjobs.cli.commands.wait:wait",
        "cancel": "mythjobs.cli.commands.job_actions:cancel",
        "hold": "mythjobs.cli.commands.job_actions:hold",
        "release": "mythjobs.cli.commands.job_actions:release",
        "set": "mythjobs.cli.commands.job_changes:set_",
        "rerun": "mythjobs.cli.commands.job_changes:rerun",
        "pause": "mythjobs.cli.commands.job_actions:pause",
        "resume": "mythjobs.cli.commands.job_actions:resume",
        "report": "mythjobs.cli.commands.report:report",
    },
    "Commands": {
        "command": "mythjobs.cli.commands.command:command_group",
        "import": "mythjobs.cli.commands.import_:import_group",
    },
    "Schedules": {
        "schedules": "mythjobs.cli.commands.schedule:schedules",
        "schedule": "mythjobs.cli.commands.schedule:schedule_group",
    },
    "Machines": {
        "machines": "mythjobs.cli.commands.machines:machines",
        "machine": "mythjobs.cli.commands.machines:machine",
        "lan": "mythjobs.cli.commands.lan:lan_group",
        "semaphore": "mythjobs.cli.commands.semaphore:semaphore_group",
    },
    "MythTV": {
        "mythtv": "mythjobs.cli.commands.mythtv:mythtv_group",
    },
    "Notifications": {
        "notifications": "mythjobs.cli.commands.notifications:notifications",
        "notify": "mythjobs.cli.commands.notify:notify_group",
    },
    "Maintenance": {
        "what-if": "mythjobs.cli.commands.what_if:what_if",
        "prune": "mythjobs.cli.commands.maintenance:prune",
        "backup": "mythjobs.cli.commands.maintenance:backup",
        "restore": "mythjobs.cli.commands.restore:restore",
        "metrics": "mythjobs.cli.commands.metrics:metrics_group",
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


def print_completions(variable: str) -> None:
    """Print the completions that the shell asks for with this environment variable, and exit."""
    group.main(prog_name="mythjobs", complete_var=variable)


def invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Raises MythJobsError, KeyboardInterrupt."""
    # group.main() is not used: it formats errors differently and exits with 1 for a broken pipe.
    try:
        with group.make_context("mythjobs", arguments, obj=Session()) as context:
            result = group.invoke(context)
            return result if isinstance(result, int) else 0
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        if error.ctx is not None and error.ctx.command is group:
            print(_OVERVIEW, file=sys.stderr)
        else:
            error.show()
        return error.exit_code
    except click.ClickException as error:
        from mythjobs.cli import other_names

        if meant := other_names.suggest(error):
            sentence = f"{error.message.rstrip('.')}. Did you mean `{meant}`?"
        else:
            sentence = error.format_message().rstrip(".")
        sentence = sentence.replace("is not a valid integer range", "is not a whole number")
        context_of = getattr(error, "ctx", None)
        where = context_of.command_path if context_of else "mythjobs"
        see = " See" if sentence.endswith("?") else "; see"
        terminal.print_message(f"{sentence[:1].lower()}{sentence[1:]}{see} `{where} --help`")
        return error.exit_code
