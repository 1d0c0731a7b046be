"""`mythjobs completion`: scripts for shell completion."""

from __future__ import annotations

import click

from mythjobs.cli.session import command


@command(
    "completion",
    epilog="Examples:\n"
    '  eval "$(mythjobs completion bash)"       in ~/.bashrc\n'
    '  eval "$(mythjobs completion zsh)"        in ~/.zshrc\n'
    "  mythjobs completion fish > ~/.config/fish/completions/mythjobs.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for a shell."""
    from click.shell_completion import get_completion_class

    completion_class = get_completion_class(shell)
    assert completion_class is not None
    group = context.find_root().command
    print(completion_class(group, {}, "mythjobs", "_MYTHJOBS_COMPLETE").source())
