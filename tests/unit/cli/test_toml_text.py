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
def test_written_toml_is_read_as_the_same_table(table: dict[str, Any]) -> None:
    assert tomllib.loads(format_toml(table)) == table


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_unchanged_by_writing(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tomllib.loads(format_toml(table)) == table


def test_shell_text_is_a_literal_string() -> None:
    assert (
        format_toml({"shell": 'cat "$A"\necho \\o\n'}) == "shell = '''\ncat \"$A\"\necho \\o\n'''\n"
    )


def test_a_regular_expression_is_a_literal_string() -> None:
    assert format_toml({"progress": {"regex": r"(\d+) %"}}) == "progress = { regex = '(\\d+) %' }\n"
