"""The definitions that users copy are whole, and what README.md shows is one too."""

import re
import tomllib
from pathlib import Path

import pytest

from mythjobs.model.definition import command_from_table

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_an_example_defines_the_command_it_is_named_after(path: Path) -> None:
    command = command_from_table(tomllib.loads(path.read_text()))
    assert command.name == path.stem
    assert command.summary
    assert all(parameter.help for parameter in command.parameters)


def test_the_definitions_in_the_readme_are_accepted() -> None:
    first, more = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert command_from_table(tomllib.loads(first)).name == "checksum"
    # The second shows what may be said beside a program.
    command = command_from_table({"name": "x", "argv": ["true"], **tomllib.loads(more)})
    assert command.limits.idle_s == 600
    assert command.retry.failures == 2
