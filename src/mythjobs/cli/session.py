"""State of one invocation (Session), and the click classes and options of all commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli import connect

if TYPE_CHECKING:
    from mythjobs.client.client import Client

Sections = Mapping[str, Mapping[str, str]]


class Session:
    """State of one run of the command line: the state directory to use, clients of its master."""

    def __init__(self) -> None:
        self.state_dir: str | None = None

    @property
    def root(self) -> str:
        return connect.find_root(self.state_dir)

    def client(self) -> Client:
        return connect.open_client(self.state_dir)


pass_session = click.make_pass_decorator(Session, ensure=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def _store_state_dir(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).state_dir = value


def state_dir_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--state-dir"],
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_store_state_dir,
        help="The state directory (also MYTHJOBS_STATE_DIR).",
    )


# The first sentence of a command's help is listed whole; click would cut it at the line's end.
_WHOLE: Final = 1000


class CliCommand(click.Command):
    """Command that accepts the global option --state-dir after its name, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(state_dir_option(hidden=True))

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            # click does not say which command has an option without its value.
            error.ctx = error.ctx or context
            raise

    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        return super().get_short_help_str(_WHOLE)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        # Print the examples line by line; click joins the lines to one paragraph.
        if self.epilog:
            formatter.write_paragraph()
            for line in self.epilog.splitlines():
                formatter.write(line + "\n")


class LazyGroup(click.Group):
    """Group whose commands are imported when called.

    sections: the commands below each heading of the help, as name and `module:attribute`.
    """

    def __init__(self, *arguments: Any, sections: Sections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sections = sections

    def list_commands(self, context: click.Context) -> list[str]:
        return [name for section in self._sections.values() for name in section]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for section in self._sections.values():
            if name in section:
                module, _, attribute = section[name].partition(":")
                command: click.Command = getattr(import_module(module), attribute)
                return command
        return None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.list_commands(context)))
        for heading, section in self._sections.items():
            rows = []
            for name in section:
                command = self.get_command(context, name)
                assert command is not None
                rows.append((name.ljust(widest), command.get_short_help_str(_WHOLE)))
            with formatter.section(heading):
                formatter.write_dl(rows)


def command(name: str, **options: Any) -> Callable[[Callable[..., Any]], CliCommand]:
    return click.command(name, cls=CliCommand, **options)
