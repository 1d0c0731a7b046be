import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.cli.files.toml_text import format_toml

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.toml"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_is_read_as_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(format_toml(table)) == table


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_the_same_after_it_was_shown(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tomllib.loads(format_toml(table)) == table


def test_the_text_of_a_shell_command_stays_readable() -> None:
    assert (
        format_toml({"shell": 'cat "$A"\necho \\o\n'}) == "shell = '''\ncat \"$A\"\necho \\o\n'''\n"
    )


def test_a_regular_expression_needs_no_doubled_backslashes() -> None:
    assert format_toml({"progress": {"regex": r"(\d+) %"}}) == "progress = { regex = '(\\d+) %' }\n"
