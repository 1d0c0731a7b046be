"""Start-up: a command imports only what it needs; completion."""

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.cli.samples import STATUS
from tests.integration.cli.scripted import Master, environment

HEAVY = {
    "asyncio", "click", "cryptography", "email", "http.client", "httpx", "litestar", "msgspec",
    "pathlib", "rich", "sqlalchemy", "ssl", "urllib", "uvicorn", "websockets",
    "mythjobs.config", "mythjobs.protocol", "mythjobs.store",
}  # fmt: skip


def test_status_imports_nothing_heavy(master: Master) -> None:
    master.answers["GET status"] = STATUS
    arguments = [sys.executable, "-X", "importtime", "-m", "mythjobs"]
    done = subprocess.run(
        [*arguments, "--state-dir", str(master.root), "status"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "mythjobs.client.client" in imported
    assert {
        name for name in HEAVY for each in imported if (each + ".").startswith(name + ".")
    } == set()


def test_completion_scripts_are_printed(master: Master) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = master.run("completion", shell)
        assert done.returncode == 0
        assert b"_MYTHJOBS_COMPLETE" in done.stdout
        assert done.stdout.count(b"\n") > 10  # printed as one line, it is no script


def test_the_completion_script_of_bash_completes(master: Master, tmp_path: Path) -> None:
    master.answers["GET jobs"] = {"jobs": [{"id": 70, "command": "a", "state": "queued"}]}
    program = tmp_path / "mythjobs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mythjobs "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={tmp_path}:$PATH; eval "$(mythjobs completion bash)"; COMP_WORDS=(mythjobs "$@"); '
        'COMP_CWORD=$#; _mythjobs_completion mythjobs; echo "${COMPREPLY[@]}"'
    )
    for words, completed in ((["cance"], "cancel"), (["show", "7"], "70"), (["wait", "7"], "70")):
        done = subprocess.run(
            ["bash", "-c", script, "bash", *words],
            env=environment(MYTHJOBS_STATE_DIR=str(master.root)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout.split(), done.stderr) == ([completed], "")


def test_names_and_ids_are_completed_from_the_master(master: Master) -> None:
    commands = [{"name": name, "summary": "s"} for name in ("transcode", "thumbnail")]
    jobs = [{"id": each, "command": "transcode", "state": "queued"} for each in (70, 71, 12)]
    master.answers |= {"GET commands": {"commands": commands}, "GET jobs": {"jobs": jobs}}

    def complete(*arguments: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(["mythjobs", *arguments]), "COMP_CWORD": str(len(arguments))}
        more = {"_MYTHJOBS_COMPLETE": "bash_complete", "MYTHJOBS_STATE_DIR": str(master.root)}
        done = subprocess.run(
            [sys.executable, "-m", "mythjobs"],
            env=environment(**line, **more),
            capture_output=True,
            text=True,
            check=False,
        )
        return [each.partition(",")[2] for each in done.stdout.split()]

    assert complete("submit", "tr") == ["transcode"]
    assert complete("show", "7") == ["70", "71"]
    assert "submit" in complete("su")
    assert complete("jobs", "--state", "queued,r") == ["queued,running"]
    master.answers |= {
        "GET semaphores": {"semaphores": [{"name": "nas", "size": 3, "used": 0}]},
        "GET channels": {"channels": [{"name": "mail", "url": "mailto://a"}], "snoozed": []},
    }
    assert complete("semaphore", "set", "n") == ["nas"]
    assert complete("run", "--semaphore", "n") == ["nas"]
    assert complete("notify", "test", "m") == ["mail"]
    assert complete("submit", "transcode", "--after", "7") == ["70", "71"]
    master.answers.clear()
    assert complete("show", "7") == []
