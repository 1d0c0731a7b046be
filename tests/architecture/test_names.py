"""Names in the source: terms of the field, one meaning per class name, no import cycles."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mythjobs"

# Words of GLOSSARY.md's column "instead of", and others for which there is a better term. Names of
# modules, classes, functions, parameters and attributes may not contain them.
REPLACED = {
    "acts", "alert", "anew", "ask", "asker", "asking", "asks", "book", "clearing", "desk", "door",
    "doors", "estate", "face", "faces", "family", "gathering", "guard", "hear", "heard",
    "house", "keeper", "kin", "lasting", "misc", "moment", "news", "oath", "openings", "over",
    "patience", "presumed", "promise", "quota", "roster", "said", "say", "says", "scribe",
    "sites", "slave", "spot", "spots", "stand", "stands", "sworn", "taking", "tell", "told",
    "util", "utils", "vain", "verdict", "watchman", "went", "whatif", "wish", "wishes", "word",
    "words", "worker", "world",
}  # fmt: skip
# Words of that column that have another meaning in this program.
OTHER_MEANING = {
    "act": "the `act` of a request of the API",
    "array": "a JSON array",
    "container": "the classes of a type",
    "entry": "an entry of a table",
    "execution": "the execution of actions",
    "host": "the Host header, a host program of the library",
    "line": "a line of text",
    "node": "a node of a syntax tree",
    "profile": "a profile of measurements",
    "proof": "a field of the link",
    "result": "the result of a function",
    "room": "a field of the link, and a rule's name in answers of the API",
    "server": "the HTTP server, the link's server, the database server",
    "set": "to set",
    "site": "the Sec-Fetch-Site header",
    "target": "the target state of a transition",
    "task": "a task of asyncio",
    "try": "to try",
}
# A module this short belongs into the module that imports it, unless it keeps a boundary.
SHORTEST = 25
BOUNDARIES = {
    "mythjobs.__main__",  # the entry point
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def components(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {each.lower() for each in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


# Fields of the API, which are JSON names.
API_FIELDS = {"over", "over_ms", "last_heard_ms"}


def names_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                fields = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
                yield from (each.id for each in fields if isinstance(each, ast.Name))
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@pytest.mark.parametrize("module", MODULES)
def test_names_use_the_terms_of_the_glossary(module: str) -> None:
    names = {module.rpartition(".")[2], *names_in(TREES[module])} - API_FIELDS
    replaced = {name: found for name in names if (found := components(name) & REPLACED)}
    assert not replaced, "GLOSSARY.md has a term for these words"


def test_the_source_avoids_each_word_that_the_glossary_replaces() -> None:
    text = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*.+\| (.*?) ?\|$", text, re.MULTILINE)
    words = {each for row in rows for each in row.split(", ") if each and " " not in each}
    assert len(words) > 40
    assert words <= REPLACED | OTHER_MEANING.keys()


def test_a_public_class_name_is_used_once() -> None:
    where: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(module)
    twice = {name: found for name, found in where.items() if len(found) > 1}
    assert not twice, "two classes of one name: rename one of them"


def imports(module: str) -> Iterator[str]:
    """Modules of this package that `module` imports: at the top, in functions, for types only."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {
    module: {each for each in imports(module) if each in MODULES and each != module}
    for module in MODULES
}


def test_no_modules_import_each_other_in_a_cycle() -> None:
    # The strongly connected components of more than one module (Tarjan's algorithm).
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for each in GRAPH[module]:
            if each not in index:
                visit(each)
            if each in stack:
                lowest[module] = min(lowest[module], lowest[each])
        if lowest[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                cycles.append(sorted(component))

    for module in GRAPH:
        if module not in index:
            visit(module)
    assert not cycles


def test_no_short_module_serves_only_one_other() -> None:
    importers: dict[str, list[str]] = {}
    for module, imported in GRAPH.items():
        for each in imported:
            importers.setdefault(each, []).append(module)
    short = {
        module: importers.get(module, [])
        for module, path in MODULES.items()
        if path.name != "__init__.py"
        and "migrations" not in path.parts
        and len(path.read_text(encoding="utf-8").splitlines()) < SHORTEST
        and len(importers.get(module, [])) < 2
    }
    assert set(short) <= BOUNDARIES, "merge these into their only importers"
