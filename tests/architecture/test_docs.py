"""The documents describe every command, message, error and route, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
import pytest
from litestar import Litestar

from mythjobs import errors
from mythjobs.cli.program import group
from mythjobs.model import life
from mythjobs.model.progress_formats import FORMATS
from mythjobs.protocol import messages
from mythjobs.web.routes.request import ApiRequest
from mythjobs.web.server.app import ROUTE_MODULES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cli_commands(command: click.Command, path: str = "mythjobs") -> Iterator[tuple[str, list[str]]]:
    """Yield the full name of each command with its visible options; groups only as prefixes."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from cli_commands(below, f"{path} {name}")
    if not isinstance(command, click.Group) or command.invoke_without_command:
        options = [
            each.opts[-1]
            for each in command.params
            if isinstance(each, click.Option) and not each.hidden and "--json" not in each.opts
        ]
        yield path, options


COMMANDS = dict(cli_commands(group))


def section(name: str) -> str:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n### {name}\n")
    assert found, f"docs/cli.md has no heading for `{name}`"
    return re.split(r"\n##+ ", rest)[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_command_line_is_described(name: str) -> None:
    described = section(name)
    for option in COMMANDS[name]:
        assert option in described, f"docs/cli.md does not describe {option} of {name}"


def test_the_command_line_has_each_command_that_is_described() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (mythjobs .+)$", text, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("preset", FORMATS)
def test_each_progress_preset_is_described(preset: str) -> None:
    text = (DOCS / "progress.md").read_text(encoding="utf-8")
    assert f"\n| `{preset}` |" in text


def tags() -> list[str]:
    found = [each for each in vars(messages).values() if isinstance(each, type)]
    structs = [each for each in found if issubclass(each, msgspec.Struct)]
    return [str(each.__struct_config__.tag) for each in structs if each.__struct_config__.tag]


@pytest.mark.parametrize("tag", tags())
def test_each_message_of_the_link_is_described(tag: str) -> None:
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert re.search(rf"`{tag}\b", text), f"docs/protocol.md does not describe {tag}"


# Codes of base classes, and of errors that end a master at its start or a machine's connection.
INTERNAL_CODES: Final = {"error", "configuration", "state_not_writable", "protocol", "taken"}


def all_codes() -> set[str]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {each.code for each in classes if issubclass(each, errors.MythJobsError)}


def codes() -> set[str]:
    """Return the codes of errors that a response of the API can have."""
    return all_codes() - INTERNAL_CODES


def test_each_internal_code_exists() -> None:
    assert all_codes() >= INTERNAL_CODES


@pytest.mark.parametrize("code", sorted(codes()))
def test_each_error_of_the_api_is_described(code: str) -> None:
    assert f"`{code}`" in (DOCS / "api.md").read_text(encoding="utf-8")


def test_the_diagram_of_job_states_equals_the_table_of_transitions() -> None:
    text = (DOCS / "life.md").read_text(encoding="utf-8")
    _, _, drawn = text.partition("```mermaid\n")
    assert drawn.partition("\n```")[0] == life.diagram()


def routes_described() -> set[tuple[str, str]]:
    """Parse rows like: `POST /api/v1/jobs/ID/x?y=z` · `b`, where `b` replaces `x`."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    found = set()
    for cell in re.findall(r"^\| (`[A-Z]+ /api/v1/[^|]+) \|", text, re.MULTILINE):
        first, *others = re.findall("`([^`]+)`", cell)
        method, _, target = first.partition(" ")
        path = target.removeprefix("/api/v1").partition("?")[0]
        found |= {(method, path), *((method, f"{path.rpartition('/')[0]}/{o}") for o in others)}
    return {(method, re.sub("/[A-Z]+", "/…", path)) for method, path in found}


def test_each_route_of_the_api_is_described_and_in_its_schema() -> None:
    routes = [route for part in ROUTE_MODULES for route in part.ROUTES]
    schema = Litestar(routes, request_class=ApiRequest).openapi_schema
    there = {
        (method.upper(), re.sub(r"\{\w+\}", "…", path))
        for path, operations in (schema.paths or {}).items()
        for method in ("get", "post", "put", "patch", "delete")
        if getattr(operations, method) is not None
    }
    assert there == routes_described()


def test_each_decision_has_its_own_number() -> None:
    found = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [int(each.name[:4]) for each in found if each.name[0].isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, each in zip(numbers, found, strict=False):
        title = each.read_text(encoding="utf-8").partition("\n")[0]
        assert title.startswith(f"# {number}. "), f"{each.name} begins with {title!r}"


TEXTS = sorted([*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.parent.glob("bench/*.md")])


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and others form them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_each_link_leads_to_a_file_and_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{path.name} links to {target}"
    for name in re.findall(r"`docs/([\w-]+\.md)`", text):
        assert (DOCS / name).exists(), f"{path.name} names docs/{name}"
