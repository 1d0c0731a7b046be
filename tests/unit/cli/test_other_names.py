"""Names of other programs: each leads to a command or an option that exists."""

import click

from mythjobs.cli.other_names import list_other_commands, list_other_options
from mythjobs.cli.program import group


def _find_command(path: str) -> click.Command | None:
    """Return the command with this path; "" is the top level."""
    command: click.Command | None = group
    for name in path.split():
        if not isinstance(command, click.Group):
            return None
        command = command.get_command(click.Context(command), name)
    return command


def test_the_names_of_other_programs_lead_to_commands_that_exist() -> None:
    names = list(list_other_commands())
    assert len(set(names)) == len(names)
    for in_group, word, meant in names:
        assert meant in ("--help", "--version") or _find_command(meant), meant
        assert isinstance(_find_command(in_group), click.Group), in_group
        assert _find_command(f"{in_group} {word}") is None, word


def test_the_options_of_other_programs_lead_to_options_that_exist() -> None:
    names = list(list_other_options())
    assert len({name for name, _ in names}) == len(names)
    known = {
        option
        for path in ("run", "submit", "jobs", "log", "prune", "machine set", "schedule add")
        if (command := _find_command(path))
        for parameter in command.params
        for option in parameter.opts
    }
    for name, meant in names:
        assert name.startswith("--"), name
        assert {each.split()[0] for each in meant} <= known, meant
