"""What every command stands on: the session, lazily loaded groups, kinds of parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mythjobs.cli.texts import decode_argument
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mythjobs.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One call of the program: which state directory, and how its master is reached."""

    def __init__(self) -> None:
        self.state_dir: str | None = None

    @property
    def root(self) -> str:
        from mythjobs.model.state_path import default_state_path

        if self.state_dir == "":
            raise BadRequest("--state-dir is empty; name a directory, or leave it out")
        return os.path.abspath(self.state_dir or default_state_path(os.environ))

    def client(self) -> Client:
        from mythjobs.client import locate
        from mythjobs.client.client import Client

        url = os.environ.get("MYTHJOBS_URL")
        # A directory that is named on the command line is meant, whatever the environment says.
        if url and self.state_dir is None:
            return Client(locate.parse_url(url, self.root, os.environ))
        return Client(locate.find_socket(self.root))


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep_state_dir(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).state_dir = value


def state_dir_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--state-dir"],
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_keep_state_dir,
        help="The state directory (also MYTHJOBS_STATE_DIR).",
    )


class CliCommand(click.Command):
    """A command that also takes --state-dir after its name, where people write it."""

    def __init__(self, *arguments: Any, **facts: Any) -> None:
        super().__init__(*arguments, **facts)
        self.params.append(state_dir_option(hidden=True))

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        # Examples stand line by line; click would fill them into a paragraph.
        if self.epilog:
            formatter.write_paragraph()
            for line in self.epilog.splitlines():
                formatter.write(line + "\n")


class LazyGroup(click.Group):
    """A group whose commands are `module:attribute`, imported when they are called for."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, str], **facts: Any) -> None:
        super().__init__(*arguments, **facts)
        self._lazy = lazy

    def list_commands(self, context: click.Context) -> list[str]:
        return [*self._lazy, *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._lazy:
            return super().get_command(context, name)
        module, _, attribute = self._lazy[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


def command(name: str, **facts: Any) -> Callable[[Callable[..., Any]], CliCommand]:
    return click.command(name, cls=CliCommand, **facts)


class TextType(click.ParamType[str]):
    """Text that goes to the master: exactly the bytes that were typed, which must be UTF-8."""

    name = "text"

    def __init__(self, said: str = "the value") -> None:
        self._said = said

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        try:
            return decode_argument(value)
        except ValueError as error:
            self.fail(f"{self._said} {error}", param, context)


class CommandNameType(TextType):
    name = "command"

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from mythjobs.cli.commands.completion import command_names

        return command_names(context, incomplete)


class MachineNameType(TextType):
    name = "machine"

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from mythjobs.cli.commands.completion import machine_names

        return machine_names(context, incomplete)


class JobIdType(click.IntRange):
    name = "job"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Any:
        # Python reads 1_0 as 10.
        if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
            self.fail(f"{value!r} is not a valid job", param, context)
        return super().convert(value, param, context)

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from mythjobs.cli.commands.completion import job_ids

        return job_ids(context, incomplete)


TEXT: Final = TextType()
COMMAND: Final = CommandNameType()
MACHINE: Final = MachineNameType()
JOB: Final = JobIdType()

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
