import json
import os
import tomllib
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master, error

GOOD = 'name = "x"\nargv = ["ls", "{a}"]\n\n[[parameters]]\nname = "a"\n'
STORED = {"name": "x", "revision": 1, "changed": True}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text(GOOD)


def test_a_command_is_defined_from_a_file(call: Call, master: Master) -> None:
    master.answers["POST commands"] = STORED
    assert call("command", "add", "x.toml") == (0, "command x stored, revision 1\n", "")
    assert master.asked[0].json == {"definition": tomllib.loads(GOOD), "replace": False}
    assert json.loads(call("command", "add", "--replace", "x.toml", "--json").out) == STORED
    assert master.asked[1].json["replace"] is True


def test_a_name_that_is_taken_says_what_to_do(call: Call, master: Master) -> None:
    master.answers["POST commands"] = error(409, "conflict", "the name is taken")
    assert call("command", "add", "x.toml") == (
        2,
        "",
        "mythjobs: x is taken; use `mythjobs command edit x`, or "
        "`mythjobs command add --replace x.toml`\n",
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        (GOOD + "sumary = 1\n", "bad.toml line 6: parameters[1].sumary: unknown key; known are"),
        (GOOD.replace('["ls", "{a}"]', "[]"), "bad.toml line 2: argv: is empty"),
        (GOOD.replace('"x"', "3"), "bad.toml line 1: name: must be text in quotes"),
        (GOOD.replace('argv = ["ls", "{a}"]', 'shell = "ls {a}"'), 'write "$MYTHJOBS_P_A" there'),
        ("name", "bad.toml: is not TOML: "),
    ],
)
def test_a_wrong_definition_is_a_sentence_and_nothing_is_sent(
    call: Call, master: Master, text: str, sentence: str
) -> None:
    Path("bad.toml").write_text(text)
    done = call("command", "add", "bad.toml")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert sentence in done.err
    assert master.asked == []


def test_commands_are_listed(call: Call, master: Master) -> None:
    facts = {"revision": 2, "enabled": True, "created_ms": 0, "parameters": ["a", "b"]}
    listed = [{"name": "x", "summary": "List\nit", **facts}]
    master.answers["GET commands"] = {"commands": listed}
    assert json.loads(call("command", "list", "--json").out) == listed
    assert call("command", "list").out.splitlines()[1].split() == ["x", "2", "a", "b", "List", "it"]


def shown(master: Master) -> None:
    definition = tomllib.loads(GOOD)
    facts = {"name": "x", "revision": 1, "enabled": True, "created_ms": 0}
    master.answers["GET commands/x"] = {**facts, "definition": definition}
    master.answers["POST commands"] = {**STORED, "revision": 2}


def test_a_definition_is_shown_as_the_file_it_could_come_from(call: Call, master: Master) -> None:
    shown(master)
    assert call("command", "show", "x").out == GOOD


def editor(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{path} --wait"


def test_an_edited_definition_is_a_new_revision(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(master)
    monkeypatch.setenv("VISUAL", editor(tmp_path / "ed", 'sed -i s/ls/stat/ "$2"'))
    assert call("command", "edit", "x") == (0, "command x stored, revision 2\n", "")
    sent = master.asked[-1].json
    assert (sent["definition"]["argv"], sent["replace"]) == (["stat", "{a}"], True)


@pytest.mark.parametrize(
    "script, sentence",
    [
        ('echo "x = 1" >> "$2"', "unknown key"),
        ('sed -i "s/= \\"x\\"/= \\"y\\"/" "$2"', "the name cannot be changed"),
        ("exit 3", "ended with code 3; nothing was stored"),
    ],
)
def test_a_text_that_cannot_be_stored_is_kept(
    call: Call,
    master: Master,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    sentence: str,
) -> None:
    shown(master)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("EDITOR", editor(tmp_path / "ed", script))
    monkeypatch.delenv("VISUAL", raising=False)
    with open(os.devnull) as empty:
        monkeypatch.setattr("sys.stdin", empty)
        done = call("command", "edit", "x")
    assert done.code == 2
    assert sentence in done.err
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("x-")]
    assert f"your text is kept in {kept[0]}\n" in done.err
    assert all(request.method == "GET" for request in master.asked)


def test_a_command_is_removed(call: Call, master: Master) -> None:
    master.answers["DELETE commands/x"] = {"name": "x"}
    assert call("command", "remove", "x") == (0, "command x removed\n", "")
