"""The definitions that users copy are whole, and what README.md shows is one too."""

import re
import tomllib
from pathlib import Path

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.arguments import check_arguments
from mythjobs.model.definition import command_from_table
from mythjobs.model.schedule import schedule_from_table
from mythjobs.mythtv.parameters import PARAMETERS, SUBJECT
from mythjobs.scheduler.ticks import check_when

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_an_example_defines_the_command_it_is_named_after(path: Path) -> None:
    command = command_from_table(tomllib.loads(path.read_text()))
    assert command.name == path.stem
    assert command.summary
    assert all(parameter.help for parameter in command.parameters)


MYTHTV = sorted((ROOT / "examples" / "mythtv").glob("*.toml"))
# Programs that tell no progress.
SILENT = {"mythmetadatalookup"}


@pytest.mark.parametrize("path", MYTHTV, ids=lambda p: p.stem)
def test_a_command_for_mythtv_has_limits_windows_and_progress(path: Path) -> None:
    command = command_from_table(tomllib.loads(path.read_text()))
    assert command.name == path.stem
    assert command.summary
    assert all(parameter.help for parameter in command.parameters)
    assert command.subject == SUBJECT
    assert command.limits.wall_s
    assert command.windows.open
    assert bool(command.progress) == (path.stem not in SILENT)
    documented = (ROOT / "docs" / "mythtv.md").read_text()
    assert f"`{path.stem}`" in documented


@pytest.mark.parametrize("path", MYTHTV, ids=lambda p: p.stem)
def test_the_bridge_knows_the_required_parameters(path: Path) -> None:
    command = command_from_table(tomllib.loads(path.read_text()))
    required = {each.name for each in command.parameters if each.required}
    assert required - PARAMETERS.keys() <= {"root"}  # which a rule gives


SCHEDULES = sorted((ROOT / "examples" / "schedules").glob("*.toml"))


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda p: p.stem)
def test_an_example_of_a_schedule_fits_its_command(path: Path) -> None:
    schedule = check_when(schedule_from_table(tomllib.loads(path.read_text())))
    assert schedule.name == path.stem
    definition = path.parent / "commands" / f"{schedule.command}.toml"
    command = command_from_table(tomllib.loads(definition.read_text()))
    assert command.name == schedule.command
    assert command.summary
    check_arguments(command, dict(schedule.arguments))


def test_each_command_of_a_schedule_is_scheduled() -> None:
    commands = (ROOT / "examples" / "schedules" / "commands").glob("*.toml")
    assert {each.stem for each in commands} == {each.stem for each in SCHEDULES}
    documented = (ROOT / "docs" / "schedules.md").read_text()
    assert all(f"`{each.stem}`" in documented for each in SCHEDULES)


def test_the_definitions_in_the_readme_are_accepted() -> None:
    first, more = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert command_from_table(tomllib.loads(first)).name == "checksum"
    # The second shows what may be said beside a program.
    command = command_from_table({"name": "x", "argv": ["true"], **tomllib.loads(more)})
    assert command.limits.idle_s == 600
    assert command.retry.failures == 2


DEFINITIONS = (ROOT / "docs" / "definitions.md").read_text()


def test_the_definition_in_the_documentation_is_accepted() -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", DEFINITIONS, re.DOTALL)
    assert command_from_table(tomllib.loads(shown)).name == "convert"


@pytest.mark.parametrize(
    "table, shown",
    [
        ({"x": 1}, "{}"),
        ({"parameters": [{"x": 1}]}, "{}"),
        ({"limits": {"x": 1}}, "{}"),
        ({"retry": {"x": 1}}, "{}"),
        ({"windows": {"x": 1}}, "windows.{}"),
        ({"retention": {"x": 1}}, "retention.{}"),
        ({"notify": {"x": 1}}, "notify.{}"),
    ],
)
def test_each_key_of_a_definition_is_documented(table: dict[str, object], shown: str) -> None:
    with pytest.raises(DefinitionError, match="unknown key; known are ") as refused:
        command_from_table({"name": "a", "argv": ["true"], **table})
    keys = str(refused.value).partition("known are ")[2].split(", ")
    assert len(keys) > 1
    missing = [each for each in keys if not re.search(rf"[`[]{shown.format(each)}\b", DEFINITIONS)]
    assert missing == []
