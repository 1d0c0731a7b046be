"""ARCHITECTURE.md, CONTRIBUTING.md and GLOSSARY.md name what exists in the source."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mythjobs"
# A function belongs to the last file before it in its list item or table row.
_FILE = re.compile(r"`([a-z_/0-9-]+\.(?:py|c|md))`")
_NAME = re.compile(r"`([A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)\(\)`")


def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def contributing() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def named_files() -> list[str]:
    return sorted(set(_FILE.findall(architecture() + contributing())))


def named_functions() -> list[tuple[str, str]]:
    """Pairs (file, function): a function belongs to the last file named before it in its block."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\d+\. |- |\| )", architecture()):
        file = ""
        for match in re.finditer(f"{_FILE.pattern}|{_NAME.pattern}", block):
            if match[1]:
                file = match[1]
            else:
                found.append((file, match[2]))
    return sorted(set(found))


def definitions(path: Path) -> set[str]:
    """Functions as `name`, methods as `name` and `Class.name`, classes as `Class`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    names |= {each.name, f"{node.name}.{each.name}"}
    return names


@pytest.mark.parametrize("name", named_files())
def test_each_named_file_exists(name: str) -> None:
    assert (SOURCE / name).is_file() or (ROOT / name).is_file()


@pytest.mark.parametrize("file, name", named_functions())
def test_each_function_of_the_architecture_exists(file: str, name: str) -> None:
    assert file, f"ARCHITECTURE.md names {name}() without its file"
    path = SOURCE / file if (SOURCE / file).is_file() else ROOT / file
    assert name in definitions(path), f"{file} has no {name}"


def test_each_function_of_the_recipes_exists() -> None:
    """A recipe also names functions that its files call: the file of a name may be any."""
    defined = set[str]().union(*(definitions(path) for path in SOURCE.rglob("*.py")))
    # `f()` and `parse()` stand for a function or method that the reader writes.
    named = set(_NAME.findall(contributing())) - {"f", "parse"}
    assert len(named) > 8
    assert named <= defined, named - defined


def test_the_walks_name_functions() -> None:
    # The four walks have over 30 steps, most with several functions.
    assert len(named_functions()) >= 60


def packages() -> list[str]:
    inits = sorted(SOURCE.rglob("__init__.py"))
    return [path.parent.relative_to(SOURCE).as_posix() for path in inits if path.parent != SOURCE]


@pytest.mark.parametrize("package", packages())
def test_each_package_is_on_the_map(package: str) -> None:
    assert f"| `{package}/` |" in architecture()


def test_the_architecture_has_under_200_lines() -> None:
    assert len(architecture().splitlines()) < 200


def terms() -> list[str]:
    text = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
    return re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)


def test_each_term_of_the_glossary_is_defined_once() -> None:
    assert len(terms()) == len(set(terms())) > 40


USES = "\n".join(
    path.read_text(encoding="utf-8").lower()
    for path in [*sorted(SOURCE.rglob("*.py")), *sorted((ROOT / "docs").rglob("*.md"))]
)


@pytest.mark.parametrize("term", terms())
def test_each_term_of_the_glossary_is_used(term: str) -> None:
    for each in term.split(", "):
        # In prose, in names and in comments that continue on the next line.
        pattern = r"[\s_#-]+".join(re.escape(word) for word in each.lower().split())
        assert re.search(pattern, USES), f"neither the source nor docs/ use the term {each}"
