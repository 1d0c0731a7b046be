"""Errors: one sentence, the right exit code, no traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs import __version__
from mythjobs.cli.main import run
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import STATUS
from tests.integration.cli.scripted import Master, Reply, environment, error


def test_a_missing_master_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = f"mythjobs --state-dir {tmp_path}/none up"
    sentence = f"mythjobs: no master is running for {tmp_path}/none; start one with `{start}`\n"
    assert run(["--state-dir", f"{tmp_path}/none", "status"]) == 69
    assert capfd.readouterr() == ("", sentence)
    # A killed master leaves master.json and its socket behind.
    root = tmp_path / "none"
    root.mkdir()
    (root / "master.json").write_text(json.dumps({"socket": f"{root}/master.sock"}))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{root}/master.sock")
    assert run(["status", "--state-dir", str(root)]) == 69
    assert capfd.readouterr() == ("", sentence)


def test_a_response_of_another_version_is_one_sentence(call: Call, master: Master) -> None:
    """Observed: a field that a response of another version lacks gave a traceback."""
    lacking = {key: value for key, value in STATUS.items() if key != "counts"}
    master.answers = {"GET status": lacking}
    same = (
        'mythjobs: the response of the master has no field "counts" (this program '
        f"is mythjobs {__version__}: restart the master, and report this if it does not help)\n"
    )
    done = call("status")
    assert (done.code, done.err) == (76, same)
    # More than this program reads is no error, and --json prints what is there.
    master.answers = {"GET status": STATUS | {"more": {"x": 1}}}
    assert call("status").code == 0
    assert json.loads(call("status", "--json").out)["more"] == {"x": 1}

    master.write_info("0.0.9")
    difference = f"the master runs mythjobs 0.0.9 and this program is {__version__}: restart"
    master.answers = {"GET status": STATUS | {"machines": [{"name": "attic"}]}}
    done = call("status")
    assert (done.code, "Traceback" in done.err) == (76, False)
    assert f'has no field "state" ({difference}' in done.err
    # A field of another type is an internal error, which names the versions, too.
    master.answers = {"GET status": STATUS | {"machines": 5}}
    done = call("status")
    assert done.code == 70
    assert f"mythjobs: internal error, perhaps as {difference}" in done.err


def test_an_error_names_the_version_of_another_master(call: Call, master: Master) -> None:
    """An older master, which was not restarted after an upgrade, does not know all requests."""
    why = f"the master runs mythjobs 0.0.9 and this program is {__version__}: restart the master"
    unknown = error(400, "bad_request", 'the request has no parameter "x"; it has none')
    known = error(409, "conflict", "job 7 has ended")
    master.answers = {"GET jobs/7": unknown, "GET jobs/8": known, "GET status": STATUS}
    assert "restart" not in call("show", "7").err
    master.write_info("0.0.9")
    done = call("show", "7")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith('mythjobs: the request has no parameter "x"; it has none (the mas')
    assert f"({why}, or use mythjobs 0.0.9)\n" in done.err
    assert call("show", "8").err == "mythjobs: job 7 has ended\n"
    # No route: the scripted master answers as Litestar does.
    done = call("set", "7", "--priority", "3")
    assert done.code == 2
    assert why in done.err
    assert call("status").err == ""
    master.answers["GET status"] = STATUS | {"version": "0.0.9"}
    assert why in call("status").err


@pytest.mark.parametrize(
    "status, code, exit_code",
    [
        (404, "no_such_job", 2),
        (400, "bad_definition", 2),
        (400, "a_word_of_a_later_version", 2),
        (401, "not_allowed", 77),
        (403, "not_allowed", 77),
        (503, "unreachable", 69),
        (507, "store_failed", 74),
        (500, "internal", 70),
    ],
)
def test_an_error_of_the_master_keeps_sentence_and_exit_code(
    call: Call, master: Master, status: int, code: str, exit_code: int
) -> None:
    master.answers["GET jobs/7"] = error(status, code, "it is\nso\x1b[2J", exit_code)
    assert call("show", "7") == (exit_code, "", "mythjobs: it is so[2J\n")


@pytest.mark.parametrize(
    "reply, exit_code, sentence",
    [
        (Reply(200, {}, (b"<html>",)), 76, "did not respond like a mythjobs master"),
        (Reply(502, {}, (b"<html>",)), 70, "the master responded with HTTP status 502"),
        (Reply(200, {}, (b'{"a',), whole=False), 69, "lost the connection to the master at"),
    ],
)
def test_an_invalid_response_is_one_sentence(
    call: Call, master: Master, reply: Reply, exit_code: int, sentence: str
) -> None:
    master.answers["GET status"] = reply
    done = call("status")
    assert done.code == exit_code
    assert sentence in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["statsu"], "no such command 'statsu'"),
        (["log"], "missing argument 'JOB'"),
        (["submit", "x", "--param"], "see `mythjobs submit --help`"),
        (["show", "x"], '"x" is not the id of a job, which is a whole number'),
        (["show", "1_0"], '"1_0" is not the id of a job, which is a whole number'),
        (["cancel", "7", "+8"], '"+8" is not the id of a job, which is a whole number'),
        (["show", "0"], "0 is not in the range"),
        (["jobs", "--nope"], "no such option"),
        (["machine", "shw"], "no such command 'shw'. Did you mean `mythjobs machine show`? See `"),
        (["statsu"], "no such command 'statsu'. Did you mean `mythjobs status`? See `"),
        # Names in other queues, in systemd and in shells.
        (["list"], "no such command 'list'. Did you mean `mythjobs jobs`?"),
        (["logs", "7"], "no such command 'logs'. Did you mean `mythjobs log`?"),
        (["squeue"], "Did you mean `mythjobs jobs`?"),
        (["commands"], "Did you mean `mythjobs command list`?"),
        (["switch", "7", "8"], "Did you mean `mythjobs set`?"),
        (["edit", "7"], "Did you mean `mythjobs set` or `mythjobs command edit`? See `"),
        (["enqueue", "7"], "Did you mean `mythjobs submit` or `mythjobs release`?"),
        (["submit", "thumbnail", "file=a.ts"], "(file=a.ts). Did you mean `--param file=…`? See"),
        (["help"], "Did you mean `mythjobs --help`?"),
        (["machine", "list"], "no such command 'list'. Did you mean `mythjobs machines`? See `"),
        (["schedule", "delete", "x"], "Did you mean `mythjobs schedule remove`?"),
        (["mythtv", "list"], "no such command 'list'; see `mythjobs mythtv --help`"),
        (["run", "--timeout", "5"], "no such option '--timeout'. Did you mean `--wall`? See `"),
        (["submit", "x", "--timeout=5"], "Did you mean `--limit wall=TIME`?"),
        (["schedule", "add", "x", "--on-calendar", "daily"], "Did you mean `--cron`?"),
        (["jobs", "--timeout", "5"], "no such option '--timeout'"),
        (["qqqq"], "no such command 'qqqq'; see `"),
    ],
)
def test_an_invalid_command_line_is_one_sentence(
    call: Call, arguments: list[str], sentence: str
) -> None:
    done = call(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("mythjobs: ")
    assert sentence in done.err
    assert "--help`" in done.err


@pytest.mark.parametrize(
    "arguments", [["submit", "x", "--machine", ""], ["run", "--prefer", "", "--", "true"]]
)
def test_an_empty_machine_is_not_any_machine(
    call: Call, master: Master, arguments: list[str]
) -> None:
    """Observed: `--machine "$HOST"` without HOST ran the job anywhere."""
    sentence = 'mythjobs: there is no machine ""; see `mythjobs machines`\n'
    assert call(*arguments) == (2, "", sentence)
    assert not master.requests


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["submit", "x", "--priority", "nan"], "'nan' is not a whole number"),
        (["submit", "x", "--label", ""], '"" is not a valid label; use small letters'),
        (
            ["submit", "x", "--deadline", "2020-01-01"],
            "is in the past",
        ),
        (
            ["submit", "x", "--deadline", "x" * 5000],
            'x…" (5000 characters) is not a',
        ),
        (["notify", "add", "mail", ""], "the URL is empty"),
        (["notify", "heartbeat", ""], "the URL is empty"),
        (["schedule", "add", ""], 'cannot read "": No such file'),
        (
            ["schedule", "add", "s", "--command", "x", "--every", "1h", "--start-within", "x"],
            '--start-within: "x" is not a duration',
        ),
    ],
)
def test_an_invalid_value_is_named_as_it_was_given(
    call: Call, master: Master, arguments: list[str], part: str
) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert part in done.err
    assert len(done.err) < 400
    assert master.requests == []


def test_a_file_of_settings_to_replay_is_checked(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_text("[semaphores]\nnas = 1\n[machine.attic]\njobs = 1\n")
    error = call("what-if", str(path)).err
    assert f"{path}: unknown key machine; known are machines, commands, semaphores" in error


def test_without_arguments_the_first_steps_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    shown = capfd.readouterr().err
    assert shown.startswith("Usage: mythjobs")
    commands = [line.strip() for line in shown.splitlines() if line.startswith("  mythjobs ")]
    assert [line.split("  ")[0] for line in commands] == [
        "mythjobs up",
        "mythjobs command add FILE",
        "mythjobs submit COMMAND",
        "mythjobs jobs",
        "mythjobs log JOB",
    ]
    assert "`mythjobs --help` lists all commands" in shown
    assert run(["machine"]) == 2
    assert capfd.readouterr().err.startswith("Usage: mythjobs machine")


def test_every_command_has_a_help_text(call: Call) -> None:
    out = call("--help").out
    headings = [line for line in out.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings[1:] == [
        "Queue:", "Jobs:", "Commands:", "Schedules:", "Machines:", "MythTV:", "Notifications:",
        "Maintenance:",
    ]  # fmt: skip
    assert "completion" in out
    assert "Examples:\n  mythjobs submit transcode-h264" in call("submit", "--help").out
    assert "mythjobs run -- rsync" in call("run", "-h").out
    assert call("--version").out.startswith("mythjobs, version ")


def test_an_internal_error_prints_a_traceback_and_exits_with_70(call: Call, master: Master) -> None:
    master.answers["GET status"] = STATUS | {"started_ms": None}
    done = call("status")
    assert done.code == 70
    assert "TypeError" in done.err
    assert done.err.endswith("please report it with the traceback above\n")


def test_a_closed_pipe_is_not_an_error(master: Master) -> None:
    master.answers["GET jobs"] = {"jobs": [], "next": None}
    arguments = master.command("jobs", "--json")
    process = subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(60) == 141


def test_a_closed_stdin_is_like_an_empty_one(master: Master) -> None:
    counts = dict.fromkeys(("queued", "leased", "running", "succeeded", "failed", "cancelled"), 1)
    master.answers["GET jobs/count"] = {"counts": counts}
    for arguments, sentence in (
        (("cancel", "--command", "x"), "stdin is not a terminal, so give --yes to confirm"),
        (("command", "add", "-"), "give either argv"),
    ):
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *master.command(*arguments)]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert sentence in done.stderr.decode()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_reported(master: Master) -> None:
    master.answers["GET status"] = STATUS
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            master.command("status"), env=environment(), stdout=full, stderr=subprocess.PIPE,
            check=False,
        )  # fmt: skip
    assert done.returncode == 74
    assert done.stderr == b"mythjobs: cannot write to stdout: No space left on device\n"


def test_requests_to_the_port_carry_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    body = json.dumps(STATUS).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "mythjobs", "status"],
            env=environment(MYTHJOBS_URL=url, MYTHJOBS_STATE_DIR=str(tmp_path)),
            stdout=subprocess.PIPE,
        )
        connection, _ = server.accept()
        with connection:
            received = connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        out, _ = process.communicate(timeout=60)
    assert b"\r\nAuthorization: Bearer secret\r\n" in received
    assert b"\r\nHost: localhost\r\n" in received
    assert out.startswith(b"mythjobs 0.1.0")


@pytest.mark.parametrize(
    "url, code, sentence",
    [
        ("https://127.0.0.1:1", 2, "it must be like http://127.0.0.1:6545"),
        ("http://example.org:1", 2, "the token is sent only to this machine"),
        ("http://127.0.0.1:1", 77, "/token (No such file or directory)"),
    ],
)
def test_an_invalid_address_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    url: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("MYTHJOBS_URL", url)
    monkeypatch.setenv("MYTHJOBS_STATE_DIR", str(tmp_path))
    assert run(["status"]) == code
    assert sentence in capfd.readouterr().err


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be another user")
def test_another_users_state_directory_is_one_sentence(master: Master) -> None:
    received = (
        "import os, sys; import mythjobs.cli.main as m; import mythjobs.cli.status_text; "
        "import mythjobs.client.client; os.setuid(65534); sys.exit(m.run(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", received, "--state-dir", str(master.root), "status"]
    done = subprocess.run(arguments, env=environment(), capture_output=True, check=False)
    assert done.returncode == 77
    assert done.stderr.startswith(
        f"mythjobs: the state directory {master.root} belongs to ".encode()
    )
    assert master.requests == []


def test_the_exit_code_is_kept_if_stderr_cannot_be_written(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mythjobs", "--state-dir", str(tmp_path / "none"), "status"]
    with open("/dev/full", "w") as full:
        assert subprocess.run(arguments, stderr=full, check=False).returncode == 69


def test_an_empty_state_directory_is_not_the_default(call: Call) -> None:
    code, _, output = call("--state-dir", "", "status")
    assert (code, "--state-dir is empty" in output) == (2, True)


def test_ctrl_c_during_imports_prints_nothing() -> None:
    # The finder sends SIGINT during an import.
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import mythjobs.__main__ as program\n"
        "program.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("group", [[], ["machine"], ["mythtv"], ["command"]])
def test_lists_of_commands_have_whole_sentences(master: Master, group: list[str]) -> None:
    # Seen on a terminal of 80 columns: "Let a machine start no more jobs; those that run…".
    arguments = [each.encode() for each in master.command(*group, "--help")]
    listed = master.run_raw(arguments, COLUMNS="40").stdout.decode()
    assert "..." not in listed.partition("Options:")[2]
