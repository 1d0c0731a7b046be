"""scripts/setup: what it installs, and when; the programs that install are only recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.scripts import SCRIPTS, load_script

SCRIPT = SCRIPTS / "setup"
LOCKS = ("build", "run", "test", "dev")


class Project:
    """A directory with the files that the script reads, and the steps that it takes there."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.steps: list[str] = []
        self.failing = ""
        self.script = script = load_script("setup")
        for name in ("pyproject.toml", "hatch_build.py"):
            (root / name).write_text(name)
        (root / "requirements").mkdir()
        for lock in LOCKS:
            (root / f"requirements/{lock}.txt").write_text(lock)
        patch.setattr(script, "ROOT", root)
        for name, path in (
            ("VENV", ".venv"),
            ("PYTHON", ".venv/bin/python"),
            ("STAMP", ".venv/mythjobs-setup.json"),
        ):
            patch.setattr(script, name, root / path)
        patch.setattr(script, "step", self._record)

    def _record(
        self, what: str, command: Sequence[str | Path], *, remedy: str = "", may_fail: bool = False
    ) -> bool:
        self.steps.append(what)
        if what == self.failing:
            sys.exit(f"{what} failed; {remedy}")
        if "venv" in command:
            (self.root / ".venv/bin").mkdir(parents=True)
            (self.root / ".venv/bin/python").touch()
        return True

    def install(self, target: str) -> list[str]:
        """Install the Python packages of a target. Return the steps taken."""
        self.steps.clear()
        self.script.install_python(self.script.TARGETS[target].locks)
        return list(self.steps)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


BYTE_CODE = "byte code"
VENV = "virtual environment .venv"


def test_a_second_run_installs_nothing(project: Project) -> None:
    first = [VENV, "requirements/build.txt", "requirements/run.txt", "mythjobs", BYTE_CODE]
    assert project.install("demo") == first
    assert project.install("demo") == [BYTE_CODE]


def test_the_targets_share_one_environment(project: Project) -> None:
    project.install("demo")
    assert project.install("test") == ["requirements/test.txt", "mythjobs", BYTE_CODE]
    # The lock of the tests has all that the demo needs.
    assert project.install("demo") == [BYTE_CODE]


@pytest.mark.parametrize(
    "changed, steps",
    [
        ("requirements/run.txt", ["requirements/run.txt", "mythjobs", BYTE_CODE]),
        ("requirements/dev.txt", [BYTE_CODE]),
        ("pyproject.toml", ["mythjobs", BYTE_CODE]),
    ],
)
def test_only_what_has_changed_is_installed_again(
    project: Project, changed: str, steps: list[str]
) -> None:
    project.install("demo")
    (project.root / changed).write_text("changed")
    assert project.install("demo") == steps


def test_an_interrupted_run_is_done_again(project: Project) -> None:
    project.failing = "requirements/run.txt"
    with pytest.raises(SystemExit, match=r"run\.txt failed; check that the package index"):
        project.install("demo")
    project.failing = ""
    # The unfinished environment is replaced.
    assert project.install("demo")[:2] == [VENV, "requirements/build.txt"]
    assert project.install("demo") == [BYTE_CODE]


@pytest.mark.parametrize(
    "programs, remedy",
    [
        ((), "there is no apt-get; install no-such-program"),
        (("apt-get",), "as root run `apt-get install some-package`, then run this again"),
    ],
)
def test_a_missing_program_is_named_with_the_way_to_install_it(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    programs: Sequence[str],
    remedy: str,
) -> None:
    (tmp_path / "bin").mkdir()
    for name in programs:
        (tmp_path / "bin" / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    as_user: Callable[[], int] = lambda: 1000  # noqa: E731
    monkeypatch.setattr(os, "geteuid", as_user)
    with pytest.raises(SystemExit) as end:
        project.script.install_required({"no-such-program": "some-package"})
    assert end.value.code == 1
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["everything"], ["demo", "test"]])
def test_a_wrong_target_is_refused_with_the_targets(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "setup: usage: scripts/setup demo|test|bench|dev\n"
