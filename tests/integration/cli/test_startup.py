"""Start-up: a command imports only what it needs; completion."""

import re
import subprocess
import sys

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
    master.answers.clear()
    assert complete("show", "7") == []
