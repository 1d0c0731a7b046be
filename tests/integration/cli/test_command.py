import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mythjobs import clock
from mythjobs.model.definition import command_from_table
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import job
from tests.integration.cli.scripted import Master, error, write_editor

GOOD = 'name = "x"\nargv = ["ls", "{a}"]\n\n[[parameters]]\nname = "a"\n'
STORED = {"name": "x", "revision": 1, "changed": True, "nowhere": ""}

STATISTICS = {
    "jobs": 10,
    "runs": 12,
    "succeeded": 6,
    "failed": 2,
    "cancelled": 2,
    "success_rate": 0.75,
    "median_s": 61.0,
    "p90_s": 4080.0,
    "cpu_median_s": 30.0,
    "cpu_total_s": 7200.0,
    "read_bytes": 1024,
    "written_bytes": 2048,
    "peak_bytes": 3 * 2**20,
}
SHOWN: dict[str, Any] = {
    "name": "x",
    "revision": 1,
    "enabled": True,
    "created_ms": 0,
    "revised_ms": 1_800_000_000_000,
    "put_off_ms": None,
    "put_off_reason": "",
    "statistics": STATISTICS,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text(GOOD)


def test_a_command_is_defined_from_a_file(call: Call, master: Master) -> None:
    master.answers["POST commands"] = STORED
    assert call("command", "add", "x.toml") == (0, "command x stored, revision 1\n", "")
    assert master.requests[0].json == {"definition": tomllib.loads(GOOD), "replace": False}
    assert json.loads(call("command", "add", "--replace", "x.toml", "--json").out) == STORED
    assert master.requests[1].json["replace"] is True


def test_an_existing_name_is_refused_with_the_commands_to_use(call: Call, master: Master) -> None:
    master.answers["POST commands"] = error(409, "conflict", "the name is taken")
    assert call("command", "add", "x.toml") == (
        2,
        "",
        "mythjobs: command x exists already; use `mythjobs command edit x`, or "
        "`mythjobs command add --replace x.toml`\n",
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        (GOOD + "sumary = 1\n", "bad.toml line 6: parameters[1].sumary: unknown key; known are"),
        (GOOD.replace('["ls", "{a}"]', "[]"), "bad.toml line 2: argv: is empty"),
        (GOOD.replace('"x"', "3"), "bad.toml line 1: name: must be text in quotes"),
        (GOOD.replace('argv = ["ls", "{a}"]', 'shell = "ls {a}"'), 'write "$MYTHJOBS_P_A" instead'),
        ("name", "bad.toml: invalid TOML: "),
    ],
)
def test_an_invalid_definition_is_one_sentence_and_nothing_is_sent(
    call: Call, master: Master, text: str, sentence: str
) -> None:
    Path("bad.toml").write_text(text)
    done = call("command", "add", "bad.toml")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert sentence in done.err
    assert master.requests == []


def test_errors_of_a_definition_from_stdin_name_stdin(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen: "- line 1: name: must be text in quotes".
    for text, sentence in (
        (GOOD.replace('"x"', "3").encode(), "stdin line 1: name: must be text in quotes"),
        (b"name", "stdin: invalid TOML: "),
        (b"name =\n", "stdin line 1: invalid TOML: "),
        (b"name = '\xff'", "stdin line 1: must be UTF-8 text"),
    ):
        given = io.TextIOWrapper(io.BytesIO(text))
        monkeypatch.setattr("sys.stdin", given)
        done = call("command", "add", "-")
        assert (done.code, done.err.startswith(f"mythjobs: {sentence}")) == (2, True), done.err


def test_commands_are_listed(call: Call, master: Master) -> None:
    facts = {"revision": 2, "enabled": True, "created_ms": 0, "parameters": ["a", "b"]}
    listed = [{"name": "x", "summary": "List\nit", **facts}]
    master.answers["GET commands"] = {"commands": listed}
    assert json.loads(call("command", "list", "--json").out) == listed
    assert call("command", "list").out.splitlines()[1].split() == ["x", "2", "a", "b", "List", "it"]


def test_the_list_shows_how_the_last_jobs_of_each_command_went(call: Call, master: Master) -> None:
    facts = {"revision": 2, "enabled": True, "created_ms": 0, "parameters": [], "summary": "s"}
    recent = {"jobs": 50, "succeeded": 48, "failed": 2, "cancelled": 0}
    listed = [
        {"name": "x", **facts, "recent": {**recent, "success_rate": 0.96, "usual_s": 740.0}},
        {"name": "y", **facts, "recent": {**recent, "success_rate": None, "usual_s": None}},
    ]
    master.answers["GET commands"] = {"commands": listed}
    header, x, y = call("command", "list").out.splitlines()
    assert header.split()[3:5] == ["success", "usually"]
    assert x.split() == ["x", "2", "96", "%", "12", "min", "20", "s", "s"]
    assert y.split() == ["y", "2", "s"]
    assert master.requests[-1].query == {"statistics": "true"}


def test_a_definition_is_shown_with_its_usual_run_time(call: Call, master: Master) -> None:
    definition = tomllib.loads(GOOD)
    recent = {"jobs": 5, "succeeded": 5, "failed": 0, "cancelled": 0, "success_rate": 1.0}
    shown = {**SHOWN, "definition": definition, "recent": {**recent, "usual_s": 740.0}}
    master.answers["GET commands/x"] = shown
    lines = call("command", "show", "x").out.splitlines()
    assert lines[1] == "# last 5 jobs: 100 % success, usually in 12 min 20 s"
    counts = "# last 10 jobs: 6 succeeded, 2 failed, 2 cancelled (75 % success)"
    assert lines[2] == counts
    # With no older jobs, one line says both.
    shown["recent"] = shown["recent"] | {"jobs": 10, "success_rate": 0.75}
    assert call("command", "show", "x").out.splitlines()[1] == f"{counts}, usually in 12 min 20 s"


def answer_with_definition(master: Master) -> None:
    definition = tomllib.loads(GOOD)
    master.answers["GET commands/x"] = {**SHOWN, "definition": definition}
    master.answers["POST commands"] = {**STORED, "revision": 2}


def test_a_definition_is_shown_as_toml_that_add_reads(call: Call, master: Master) -> None:
    answer_with_definition(master)
    out = call("command", "show", "x").out
    assert out.endswith(GOOD)
    assert tomllib.loads(out) == tomllib.loads(GOOD)


def test_a_shown_command_has_statistics_of_its_jobs(call: Call, master: Master) -> None:
    answer_with_definition(master)
    lines = call("command", "show", "x").out.splitlines()
    assert lines[0].startswith("# revision 1 of 20")
    assert lines[1:4] == [
        "# last 10 jobs: 6 succeeded, 2 failed, 2 cancelled (75 % success)",
        "# 12 runs: half took up to 1 min 1 s, 90 % up to 1 h 8 min",
        "# CPU: half took up to 30.0 s, in total 2 h; peak memory 3.0 MiB; "
        "read 1.0 KiB, wrote 2.0 KiB",
    ]


def test_older_revisions_are_listed_and_shown(call: Call, master: Master) -> None:
    answer_with_definition(master)
    listed = [{"revision": 2, "created_ms": 0}, {"revision": 1, "created_ms": 0}]
    master.answers["GET commands/x/revisions"] = {"revisions": listed}
    assert json.loads(call("command", "show", "x", "--revisions", "--json").out) == listed
    assert call("command", "show", "x", "--revision", "1").code == 0
    assert master.requests[-1].query == {"revision": "1", "statistics": "true"}


def test_a_command_is_disabled_and_enabled(call: Call, master: Master) -> None:
    master.answers["POST commands/x/enabled"] = lambda request: {
        "name": "x",
        "enabled": request.json["on"],
    }
    assert call("command", "disable", "x") == (0, "command x is disabled\n", "")
    assert call("command", "enable", "x") == (0, "command x is enabled\n", "")


def test_a_command_is_disabled_until_a_time(call: Call, master: Master) -> None:
    until_ms = 4_102_444_800_000
    master.answers["POST commands/x/enabled"] = {"name": "x", "enabled": True, "until_ms": until_ms}
    done = call("command", "disable", "x", "--until", "2100-01-01 00:00:00+00:00")
    assert (done.code, done.out[:29]) == (0, "command x is disabled until 2")
    assert master.requests[-1].json == {"on": False, "until_ms": until_ms}
    before_ms = clock.master_now().wall_ms
    assert call("command", "disable", "x", "--for", "2h").code == 0
    sent_ms = master.requests[-1].json["until_ms"]
    assert before_ms <= sent_ms - 7_200_000 <= clock.master_now().wall_ms
    refused = call("command", "disable", "x", "--for", "2h", "--until", "22:00")
    assert (refused.code, "give either --for or --until" in refused.err) == (2, True)
    facts = {"revision": 1, "created_ms": 0, "parameters": [], "summary": "s", "recent": None}
    listed = {"name": "x", "enabled": True, "put_off_ms": until_ms, **facts}
    master.answers["GET commands"] = {"commands": [listed]}
    assert "deferred until 2" in call("command", "list").out


def test_a_command_that_no_machine_can_run_is_stored_with_a_warning(
    call: Call, master: Master
) -> None:
    why = "will wait: no machine allows x; allow it with `mythjobs machine allow MACHINE x`"
    master.answers["POST commands"] = {**STORED, "nowhere": why}
    done = call("command", "add", "x.toml")
    assert done == (0, "command x stored, revision 1\n", f"mythjobs: its jobs {why}\n")


def test_shell_text_that_reads_an_unset_variable_gets_a_warning(call: Call, master: Master) -> None:
    master.answers["POST commands"] = STORED
    warning = 'the shell text reads $title, which is not set; the parameter is "$MYTHJOBS_P_TITLE"'
    head = 'name = "x"\nparameters = [{ name = "title", type = "text" }]\n'
    for shell, note in (
        ("shell = 'echo \"$title\"'", f"mythjobs: {warning}\n"),
        ("shell = 'echo \"${title%.ts}\"'", f"mythjobs: {warning}\n"),
        ("shell = 'echo \"$MYTHJOBS_P_TITLE\" $titles'", ""),
        ("shell = 'read title; echo \"$title\"'", ""),
        ("shell = 'title=1; echo \"$title\"'", ""),
        ("shell = 'echo $title'\nenv = { title = \"1\" }", ""),
    ):
        Path("shell.toml").write_text(head + shell)
        done = call("command", "add", "shell.toml")
        assert done == (0, "command x stored, revision 1\n", note)


def test_exported_files_can_be_imported(call: Call, master: Master) -> None:
    answer_with_definition(master)
    names = [{"name": "run"}, {"name": "x"}]
    master.answers["GET commands"] = {"commands": names}
    assert call("command", "export", "--dir", "out") == (0, "out/x.toml\n", "")
    assert Path("out/x.toml").read_text() == GOOD
    again = call("command", "export", "x", "--dir", "out")
    assert (again.code, "out/x.toml exists already; overwrite" in again.err) == (2, True)
    assert call("command", "export", "--dir", "out", "--replace").code == 0

    taken = call("command", "import", "out/x.toml")
    assert (taken.code, "out/x.toml: command x exists already" in taken.err) == (2, True)
    assert call("command", "import", "out/x.toml", "x.toml", "--replace").code == 2
    assert [each.method for each in master.requests if each.path == "commands"].count("POST") == 0
    done = call("command", "import", "out/x.toml", "--replace")
    assert done == (0, "command x stored, revision 2\n", "")


def test_an_exported_definition_has_the_input_file(call: Call, master: Master) -> None:
    parameters = [{"name": "a"}]
    definition = {"name": "x", "argv": ["wc"], "stdin": "/srv/é {a}", "parameters": parameters}
    master.answers["GET commands"] = {"commands": []}
    master.answers["GET commands/x"] = {**SHOWN, "definition": definition}
    assert call("command", "export", "x", "--dir", "out").code == 0
    master.answers["POST commands"] = STORED
    master.requests.clear()
    assert call("command", "import", "out/x.toml", "--replace").code == 0
    [posted] = [each.json for each in master.requests if each.method == "POST"]
    assert posted["definition"] == definition


def test_an_edited_definition_is_a_new_revision(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with_definition(master)
    monkeypatch.setenv("VISUAL", write_editor(tmp_path / "ed", 'sed -i s/ls/stat/ "$2"'))
    assert call("command", "edit", "x") == (0, "command x stored, revision 2\n", "")
    sent = master.requests[-1].json
    assert (sent["definition"]["argv"], sent["replace"]) == (["stat", "{a}"], True)


@pytest.mark.parametrize(
    "script, sentence",
    [
        ('echo "x = 1" >> "$2"', "unknown key"),
        ('sed -i "s/= \\"x\\"/= \\"y\\"/" "$2"', "the name cannot be changed"),
        ('echo "" >> "$2"; exit 3', "exited with code 3; nothing was stored"),
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
    answer_with_definition(master)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("EDITOR", write_editor(tmp_path / "ed", script))
    monkeypatch.delenv("VISUAL", raising=False)
    with open(os.devnull) as empty:
        monkeypatch.setattr("sys.stdin", empty)
        done = call("command", "edit", "x")
    assert done.code == 2
    assert sentence in done.err
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("x-")]
    assert f"the edited text is kept in {kept[0]}\n" in done.err
    assert all(request.method == "GET" for request in master.requests)


def test_a_text_that_was_not_edited_is_not_kept(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen: each call with an editor that does not exist left a file in /tmp.
    answer_with_definition(master)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("EDITOR", str(tmp_path / "none"))
    monkeypatch.delenv("VISUAL", raising=False)
    why = f'cannot start the editor "{tmp_path}/none" (No such file or directory); set EDITOR'
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert call("command", "edit", "x") == (2, "", f"mythjobs: {why}\n")
    assert list(tmp_path.glob("x-*")) == []


def test_a_command_is_removed(call: Call, master: Master) -> None:
    master.answers["DELETE commands/x"] = {"name": "x"}
    assert call("command", "remove", "x") == (0, "command x removed\n", "")
    assert json.loads(call("command", "remove", "x", "--json").out) == {"name": "x"}


RUN_JOB: dict[str, Any] = job(
    42,
    command="run",
    subject=None,
    labels=["gpu"],
    semaphores={"nas": 1},
    limits={"nice": 5, "memory": "1GiB"},
    arguments={
        "argv": ["sh", "-c", 'echo "{x}"', "a b"], "cwd": "/srv/{tv}", "wall_s": 5400.0,
        "retry": False, "progress": r"regex:(\d+)%", "best_effort": True,
    },
)  # fmt: skip
FROM_RUN_JOB: dict[str, Any] = {
    "name": "x",
    "summary": """sh -c 'echo "{x}"' 'a b'""",
    "argv": ["sh", "-c", 'echo "{{x}}"', "a b"],
    "cwd": "/srv/{{tv}}",
    "stderr": "separate",
    "progress": {"regex": r"(\d+)%"},
    "best_effort": True,
    "labels": ["gpu"],
    "semaphores": {"nas": 1},
    "limits": {"wall": "1h30m", "nice": 5, "memory": "1GiB"},
}


def test_a_command_is_defined_from_a_job_of_run(call: Call, master: Master) -> None:
    master.answers |= {"GET jobs/42": RUN_JOB, "POST commands": STORED}
    done = call("command", "from-job", "42", "x")
    assert done == (0, "command x stored, revision 1\n", "")
    assert master.requests[1].json == {"definition": FROM_RUN_JOB, "replace": False}
    printed = call("command", "from-job", "42", "x", "--print").out
    assert tomllib.loads(printed) == FROM_RUN_JOB
    assert len(master.requests) == 3
    assert command_from_table(FROM_RUN_JOB).name == "x"  # it is valid


def test_only_a_job_of_run_becomes_a_new_command(call: Call, master: Master) -> None:
    master.answers |= {
        "GET jobs/42": RUN_JOB,
        "GET jobs/7": job(7),
        "POST commands": error(409, "conflict", "the name is taken"),
    }
    taken = call("command", "from-job", "42", "x")
    assert (taken.code, "command x exists already; choose another name" in taken.err) == (2, True)
    other = call("command", "from-job", "7", "x")
    assert (other.code, "`mythjobs command show thumbnail` shows" in other.err) == (2, True)
