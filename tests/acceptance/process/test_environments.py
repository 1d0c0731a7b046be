"""MythSystem in unusual environments: the same tour of checks, each in its own process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TOUR = Path(__file__).parent / "tour.py"
SOURCES = Path(__file__).resolve().parents[3] / "src"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can arrange it")
pytestmark = pytest.mark.slow


def tour(
    directory: Path,
    *options: str,
    around: Sequence[str] = (),
    python: str = sys.executable,
    user: int | None = None,
    sources: Path = SOURCES,
    script: Path = TOUR,
) -> None:
    """Run the tour, with `around` in front of its command line."""
    directory.chmod(0o777)
    result = directory / "result"
    files = directory / "files"
    files.mkdir(exist_ok=True)
    files.chmod(0o777)
    env = {**os.environ, "PYTHONPATH": str(sources), "TMPDIR": str(files)}
    done = subprocess.run(
        [*around, python, script, result, *options],
        env=env, user=user, group=user, extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False, cwd="/",
    )  # fmt: skip
    assert result.exists(), done
    assert result.read_text() == "toured"
    assert list(files.iterdir()) == []


@pytest.mark.parametrize("stub", ["chosen", "interpreted"])
def test_in_the_usual_environment(tmp_path: Path, stub: str) -> None:
    tour(tmp_path, *(["--interpreted"] if stub == "interpreted" else []))


def test_with_stdin_stdout_and_stderr_closed(tmp_path: Path) -> None:
    tour(tmp_path, around=["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])


def test_with_19000_descriptors_open(tmp_path: Path) -> None:
    tour(tmp_path, "--open", "19000")


def test_from_a_process_of_1_gib(tmp_path: Path) -> None:
    tour(tmp_path, "--ballast", "1024")


@as_root
def test_as_an_ordinary_user(tmp_path: Path) -> None:
    python = python_for_nobody()
    if python is None:
        pytest.skip("no Python 3.11 or later that an ordinary user can run")
    # pytest's directories are accessible to their owner only.
    place = Path("/tmp") / f"mythsystem-tour-{os.getpid()}"
    place.mkdir()
    try:
        # The checkout may be in a directory that an ordinary user cannot read.
        sources = shutil.copytree(SOURCES, place / "src")
        script = Path(shutil.copy(TOUR, place))
        tour(
            place, "--cgroups", "none",
            python=python, user=NOBODY, sources=sources, script=script,
        )  # fmt: skip
    finally:
        shutil.rmtree(place)


def python_for_nobody() -> str | None:
    test = "import sys; sys.exit(sys.version_info < (3, 11))"
    for each in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run([each, "-c", test], user=NOBODY, group=NOBODY, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return each
    return None


def unshared(*options: str) -> list[str]:
    """Return the command prefix; skip where namespaces are not available."""
    around = ["unshare", *options]
    if shutil.which("unshare") is None:
        pytest.skip("unshare(1) is not installed")
    if subprocess.run([*around, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespaces")
    return around


@as_root
def test_without_cgroups(tmp_path: Path) -> None:
    hide = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    tour(tmp_path, "--cgroups", "none", around=[*unshared("--mount"), "/bin/sh", "-c", hide, "sh"])


@as_root
def test_on_a_full_file_system(tmp_path: Path) -> None:
    fill = (
        'mount -t tmpfs -o size=64k none "$TMPDIR" && '
        '{ head -c 1M /dev/zero >"$TMPDIR/filler" 2>/dev/null; exec "$@"; }'
    )
    tour(tmp_path, "--full", around=[*unshared("--mount"), "/bin/sh", "-c", fill, "sh"])


@as_root
def test_under_a_process_1_that_does_not_reap(tmp_path: Path) -> None:
    # Process 1 waits for its own child only.
    text = "import os, sys; os.waitpid(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)"
    one = [*unshared("--pid", "--fork", "--mount-proc"), sys.executable, "-c", text]
    tour(tmp_path, around=one)


# Prints what is left after programs whose descendants lose their parents. A process that dies while
# its tree is ended is reaped at the end of a later program.
PROCESS_1 = """
import os, subprocess
from mythjobs.process import MythSystem
assert os.getpid() == 1
theirs = subprocess.Popen(["true"])
for text in ("(exit 3 &); exit 0", "setsid sleep 600 & (sleep 600 &); exit 0"):
    MythSystem.shell(text).run()
many = MythSystem.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; echo; wait").start()
next(iter(many.stdout))
many.kill()
assert theirs.wait() == 0
for _ in range(100):
    MythSystem(["true"]).run()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        print("none")
        break
"""


@as_root
def test_a_host_that_is_process_1_has_no_zombies() -> None:
    around = unshared("--pid", "--fork", "--mount-proc")
    done = subprocess.run(
        [*around, sys.executable, "-c", PROCESS_1],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("none\n", 0), done.stderr
