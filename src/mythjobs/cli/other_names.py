"""Suggestions for commands, options and states that do not exist: names that other queues, batch
systems, systemd and shells have for those that do, and similar names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

import click

from mythjobs.model.life import JobState

# The command for each of these words, or commands if programs differ; the words may follow the name
# of a group, as `machine list`.
_COMMANDS: Final = {
    "": {
        "jobs": "list ls ps queue squeue sacct history",
        "status": "top stats sdiag health dashboard",
        "show": "info describe events sstat seff scontrol",
        "why": "explain sprio",
        "log": "logs output cat tail follow sattach journalctl",
        "submit": "add enqueue sbatch at",
        "run": "exec srun",
        "up": "start serve server daemon",
        "cancel": "kill stop rm remove delete abort scancel reset",
        "hold": "stash",
        "release": "unhold enqueue",
        "pause": "suspend freeze",
        "resume": "continue unpause thaw",
        "set": "prioritize change modify update reschedule edit switch",
        "rerun": "retry restart requeue resubmit",
        "machines": "nodes workers hosts agents sinfo",
        "machine set": "parallel concurrency",
        "machine drain": "drain",
        "machine resume": "undrain",
        "machine invite": "invite",
        "machine approve": "approve",
        "agent join": "join",
        "command add": "define create new",
        "command edit": "edit",
        "command enable": "enable",
        "command disable": "disable",
        "command export": "export",
        "command list": "commands",
        "schedules": "cron timers list-timers",
        "schedule run": "trigger",
        "schedule backfill": "backfill",
        "import cron": "crontab",
        "semaphore list": "semaphores",
        "semaphore set": "group",
        "prune": "clean cleanup clear purge gc forget reset",
        "check": "doctor",
        "--version": "version",
        "--help": "help",
    },
    "agent": {"agent": "start run up", "agent install-service": "install service"},
    "command": {
        "command list": "ls",
        "command add": "new create define",
        "command from-job": "save",
        "command show": "info get cat",
        "command remove": "delete rm",
        "command disable": "pause stop",
        "command enable": "resume",
        "submit": "run start submit",
    },
    "lan": {"lan on": "open enable", "lan off": "close disable"},
    "machine": {
        "machines": "list ls",
        "machine invite": "add new create join",
        "machine revoke": "remove delete rm",
        "machine show": "status info stats",
        "machine drain": "stop disable cordon",
        "machine resume": "undrain enable start unpause uncordon",
        "machine pause": "freeze suspend",
    },
    "notify": {
        "notify list": "ls channels",
        "notify add": "new create",
        "notify remove": "delete rm",
        "notify snooze": "mute",
    },
    "schedule": {
        "schedules": "list ls",
        "schedule add": "new create",
        "schedule show": "next status info",
        "schedule remove": "delete rm",
        "schedule pause": "disable stop hold",
        "schedule resume": "enable release",
        "schedule run": "trigger start",
    },
    "semaphore": {
        "semaphore list": "ls show",
        "semaphore set": "add new create resize",
        "semaphore remove": "delete rm",
    },
}
# click's message about an argument NAME=VALUE that the command does not take.
_ARGUMENT: Final = re.compile(r"Got unexpected extra arguments? \((\w+)=")
# The options for each of these names; the first that the command has is suggested.
_OPTIONS: Final = {
    ("--wall", "--limit wall=TIME"): "--timeout --time --time-limit --walltime --max-time",
    ("--memory", "--limit memory=SIZE"): "--mem --max-memory",
    ("--each",): "--array --count --foreach --for-each",
    ("--after",): "--dependency --depend --depends --depends-on --requires",
    ("--not-before", "--cron"): "--begin --delay --at --start-after --on-calendar --schedule",
    ("--machine", "--where"): "--host --node --nodes --nodelist --server --worker",
    ("--label",): "--tag --tags --constraint",
    ("--semaphore",): "--license --licenses --lock --mutex --group",
    ("--print-id",): "--parsable --print-task-id --quiet --id-only",
    ("--detach",): "--bg --background --no-wait",
    ("--hold", "--paused"): "--held --stash --stashed --disabled",
    ("--param",): "--arg --args --set --parameter",
    ("--comment",): "--name --job-name --title --description --note",
    ("--state",): "--status --states",
    ("--lines", "--limit"): "--tail --last",
    ("--since",): "--from --newer-than",
    ("--older-than",): "--before --days --older",
    ("--jobs",): "--parallel --concurrency --slots --workers",
    ("--yes",): "--force --assume-yes --no-confirm",
}  # fmt: skip

# What other programs call the states of jobs.
_STATES: Final = {
    JobState.QUEUED: "pending waiting ready new",
    JobState.RUNNING: "active started executing",
    JobState.SUCCEEDED: "completed finished success successful done ok",
    JobState.FAILED: "error errored failure",
    JobState.CANCELLED: "canceled killed aborted",
}


def describe_unknown_state(name: str) -> str:
    """Return a message with the states that exist, and the one that is meant."""
    if name == "held":
        return f'"{name}" is not a state; held jobs are queued, `mythjobs jobs --held` lists them'
    meant = next((state for state, others in _STATES.items() if name in others.split()), "")
    hint = f' (did you mean "{meant}"?)' if meant else ""
    return f'"{name}" is not a state{hint}; states are {", ".join(JobState)}'


def suggest(error: click.ClickException) -> str:
    """Return the command or option that a user may mean with the one that does not exist, or ""."""
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    if isinstance(error, click.exceptions.NoSuchCommand):
        return _suggest_command(error.command_name, context)
    if isinstance(error, click.NoSuchOption):
        return _suggest_option(error.option_name, context)
    if isinstance(error, click.UsageError):
        return _suggest_param(error.message, context)
    return ""


def _suggest_param(message: str, context: click.Context) -> str:
    """Return `--param NAME=…` for an argument NAME=VALUE of a command that takes none."""
    found = _ARGUMENT.match(message)
    takes_params = any("--param" in each.opts for each in context.command.params)
    return f"--param {found[1]}=…" if found and takes_params else ""


def list_other_commands() -> Iterator[tuple[str, str, str]]:
    """Yield (group, word, command) for each word; the group of the top level is ""."""
    for group, commands in _COMMANDS.items():
        for command, words in commands.items():
            for word in words.split():
                yield group, word, command


def list_other_options() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (name, options that may be meant)."""
    for meant, names in _OPTIONS.items():
        for name in names.split():
            yield name, meant


def _suggest_command(name: str, context: click.Context) -> str:
    root, _, group = context.command_path.partition(" ")
    meant = [
        f"{root} {command}"
        for in_group, word, command in list_other_commands()
        if (in_group, word) == (group, name)
    ]
    if meant:
        return "` or `".join(meant)
    assert isinstance(context.command, click.Group)
    close = get_close_matches(name, context.command.list_commands(context), n=1)
    return f"{context.command_path} {close[0]}" if close else ""


def _suggest_option(name: str, context: click.Context) -> str:
    known = {each for option in context.command.params for each in option.opts}
    for other, meant in list_other_options():
        for each in meant:
            if other == name and each.split()[0] in known:
                return each
    return ""
