"""`mythjobs agent policy`: checks and shows the machine's own policy file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master

TEXT = """jobs = 2
allow = ["backup"]

[windows]
open = ["22:00-06:00"]
"""


@pytest.fixture
def path(master: Master) -> Path:
    directory = master.root / "agent"
    directory.mkdir(exist_ok=True)
    return directory / "policy.toml"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_the_policy_is_shown_as_toml(call: Call, path: Path) -> None:
    write(path, TEXT)
    done = call("agent", "policy")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"# {path}; the agent reads it when it starts\n")
    assert tomllib.loads(done.out) == tomllib.loads(TEXT)
    shown = json.loads(call("agent", "policy", "--json").out)
    assert shown == {"path": str(path), "exists": True, "policy": tomllib.loads(TEXT)}


def test_without_a_file_nothing_is_limited(call: Call, path: Path) -> None:
    assert "this machine does not limit its master" in call("agent", "policy").out
    write(path, "")
    assert call("agent", "policy").out.endswith("# it limits nothing\n")


@pytest.mark.parametrize(
    "text, hint",
    [
        ("window = []", "window: unknown key"),
        ('[windows]\nopen = ["25:00-26:00"]', "windows.open"),
        ('users = ["nobody-else"]', "as nobody-else only, and this agent runs as"),
        ("jobs =", "cannot read"),
    ],
)
def test_a_mistake_is_named(call: Call, path: Path, text: str, hint: str) -> None:
    write(path, text)
    done = call("agent", "policy")
    assert (done.code, done.out) == (78, "")
    assert hint in done.err
