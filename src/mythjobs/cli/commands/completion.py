"""`mythjobs completion`: the shell completes commands, options, names and job ids."""

from __future__ import annotations

import sys

import click
from click.shell_completion import CompletionItem, get_completion_class

from mythjobs.cli.session import Session, command
from mythjobs.client.client import Json
from mythjobs.errors import MythJobsError


@command(
    "completion",
    epilog="Examples:\n"
    '  eval "$(mythjobs completion bash)"       in ~/.bashrc\n'
    '  eval "$(mythjobs completion zsh)"        in ~/.zshrc\n'
    "  mythjobs completion fish > ~/.config/fish/completions/mythjobs.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete mythjobs' words."""
    from mythjobs.cli.main import group

    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(group, {}, "mythjobs", "_MYTHJOBS_COMPLETE").source(), file=sys.stdout)


def command_names(context: click.Context, incomplete: str) -> list[CompletionItem]:
    found = _ask(context, "commands").get("commands", [])
    return [
        CompletionItem(each["name"], help=each["summary"])
        for each in found
        if each["name"].startswith(incomplete)
    ]


def machine_names(context: click.Context, incomplete: str) -> list[CompletionItem]:
    found = _ask(context, "machines").get("machines", [])
    return [
        CompletionItem(each["name"], help=each["state"])
        for each in found
        if each["name"].startswith(incomplete)
    ]


def job_ids(context: click.Context, incomplete: str) -> list[CompletionItem]:
    found = _ask(context, "jobs").get("jobs", [])
    return [
        CompletionItem(str(each["id"]), help=f"{each['command']} {each['state']}")
        for each in found
        if str(each["id"]).startswith(incomplete)
    ]


def _ask(context: click.Context, path: str) -> Json:
    # Where no master answers there is nothing to complete, and a word in the middle of what
    # someone types would help nobody.
    try:
        return context.ensure_object(Session).client().get(path, timeout_s=1.0)
    except MythJobsError:
        return {}
