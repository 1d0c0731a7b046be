"""MythSystem where things are not as usual: each time the same tour, in a process of its own."""

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
    """Take it, with `around` as the beginning of the command line."""
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
def test_in_a_usual_place(tmp_path: Path, stub: str) -> None:
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
        pytest.skip("no Python from 3.11 on that an ordinary user can run")
    # pytest's own directories are for their owner only.
    place = Path("/tmp") / f"mythsystem-tour-{os.getpid()}"
    place.mkdir()
    try:
        # The checkout itself may be where an ordinary user cannot read.
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
    """The beginning of a command line. Skips where namespaces cannot be had."""
    around = ["unshare", *options]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1)")
    if subprocess.run([*around, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no namespaces")
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
    # It waits for its own child only.
    text = "import os, sys; os.waitpid(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)"
    one = [*unshared("--pid", "--fork", "--mount-proc"), sys.executable, "-c", text]
    tour(tmp_path, around=one)
