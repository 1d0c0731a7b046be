"""Command lines in documents, examples and messages name commands and options that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from mythjobs.cli.program import group

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes.d").glob("*.md")]
)
EXAMPLES = sorted((ROOT / "examples").rglob("*.toml"))
SOURCES = sorted((ROOT / "src" / "mythjobs").rglob("*.py"))
# Wrong on purpose: a document says how they are answered.
WRONG: Final = {"mythjobs list", "mythjobs logs"}
# Options that click adds to each command, and that all commands accept.
COMMON: Final = {"--help", "--state-dir"}
_QUOTED: Final = re.compile(r"`(mythjobs [^`]+)`")
_LINE: Final = re.compile(r"^(?:#   |    )?(?:\$ )?(?:sudo )?(mythjobs .+)$", re.MULTILINE)
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def find_command_lines(text: str) -> Iterator[str]:
    """Yield what a document quotes, and what it shows on lines of their own."""
    # A line that ends with a backslash goes on.
    text = re.sub(r" *\\\n *", " ", text)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^(?:    |#   ).+$", text, re.MULTILINE)
    shown = "\n".join([*blocks, *indented])
    for line in [*_QUOTED.findall(text), *_LINE.findall(shown)]:
        # A comment of the shell, and a pipe into another command line.
        line = re.split(r"\s+# ", line)[0]
        yield from (each.strip() for each in re.split(r"(?=\bmythjobs )", line) if each)


def find_messages(path: Path) -> Iterator[str]:
    """Yield the texts of a module; a replaced field is X."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            yield "".join(str(e.value) if isinstance(e, ast.Constant) else "X" for e in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def find_fault(line: str) -> str:
    """Return what the command line names that does not exist, or ""."""
    words = re.sub(r"--state-dir \S+", "", line).partition(" -- ")[0].split()[1:]
    command: click.Command = group
    while isinstance(command, click.Group) and words and re.match(r"[a-z]", words[0]):
        name = words.pop(0)
        found = command.get_command(click.Context(command), name.rstrip(".,;:"))
        if found is None:
            return f"there is no command {name}"
        command = found
    known = {each for param in command.params for each in (*param.opts, *param.secondary_opts)}
    unknown = set(_OPTION.findall(" ".join(words))) - known - COMMON
    return f"{command.name} has no option {', '.join(sorted(unknown))}" if unknown else ""


def find_faults(lines: Iterator[str]) -> dict[str, str]:
    return {line: fault for line in lines if (fault := find_fault(line)) and line not in WRONG}


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_command_line_in_a_document_exists(path: Path) -> None:
    assert find_faults(find_command_lines(path.read_text(encoding="utf-8"))) == {}


def test_a_command_line_in_a_message_exists() -> None:
    texts = (text for path in SOURCES for text in find_messages(path))
    lines = [line for text in texts for line in _QUOTED.findall(text)]
    assert len(lines) > 100
    assert find_faults(iter(lines)) == {}


@pytest.mark.parametrize(
    "line, fault",
    [
        ("mythjobs submit x --wait", ""),
        ("mythjobs run --wall 1m -- ls --all", ""),
        ("mythjobs --state-dir DIR machine drain attic --wait", ""),
        ("mythjobs machine empty attic", "there is no command empty"),
        ("mythjobs submit x --every 1h", "submit has no option --every"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, fault: str) -> None:
    assert find_fault(line) == fault


def test_command_lines_are_found_in_quotes_in_blocks_and_in_comments() -> None:
    text = (
        "Use `mythjobs up` first.\n\n```\nmythjobs jobs     # list them\n$ mythjobs log 1 \\\n"
        "    --follow\nls\n```\n\n    mythjobs log 4 | mythjobs command test-progress -\n"
    )
    assert sorted(find_command_lines(text)) == [
        "mythjobs command test-progress -", "mythjobs jobs", "mythjobs log 1 --follow",
        "mythjobs log 4 |", "mythjobs up",
    ]  # fmt: skip
