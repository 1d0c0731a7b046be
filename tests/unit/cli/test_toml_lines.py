import pytest

from mythjobs.cli.files.toml_lines import find_line

TEXT = '''name = "x"
argv = [
    "prog", "name=1",
    "a = b",
]
env = { LANG = "C" }
shell = """
limits = 3
[limits]
wall = 1
"""
one = "a \\"\\"\\" b"

[[parameters]]
name = "source"
type = "path"

[[parameters]]
name = 'target'
"type" = "bath"

[ limits ] # here
wall = "6 hours"

[output]
head.x = 1
'''


@pytest.mark.parametrize(
    "key, line",
    [
        ("name", 1),
        ("argv[1]", 2),
        ("env.LANG", 6),
        ("shell", 7),
        ("parameters[1].name", 15),
        ("parameters[2].name", 19),
        ("parameters.source.type", 16),
        ("parameters.target.type", 20),
        # Missing keys: the line of their table.
        ("parameters.target.default", 18),
        ("limits.wall", 23),
        ("limits.cpu", 22),
        ("limits", 22),
        ("output.head", 25),
        ("summary", None),
        ("", None),
    ],
)
def test_a_key_is_found_on_its_line(key: str, line: int | None) -> None:
    assert find_line(TEXT, key) == line
