"""A real systemd as process 1 of namespaces of its own, on an overlay of this machine's files."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

_SYSTEMD: Final = "/lib/systemd/systemd"
_TIMEOUT_S: Final = 60
# Units that every service depends on. No unit of the machine is loaded.
_TARGETS: Final = ("default", "basic", "sysinit", "shutdown", "umount")

# Arguments: a directory, then directories to show in the container. Nothing is written to the
# machine's files.
_BOOT: Final = r"""
set -e
base=$1; shift
root=$base/root
mount --make-rprivate /
mount -t tmpfs tmpfs $base
mkdir $base/upper $base/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/upper,workdir=$base/work $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount --rbind /dev $root/dev
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/tmp
# After these mounts: the checkout may be below /tmp.
for each; do
    mkdir -p $root$each
    mount --rbind $each $root$each
done
mkdir $root/tmp/units $root/tmp/generators
echo booting
# The test adds the units, then writes a line.
read line
exec chroot $root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test \
    SYSTEMD_UNIT_PATH=/tmp/units SYSTEMD_GENERATOR_PATH=/tmp/generators \
    /lib/systemd/systemd --system --log-target=console
"""


class Container:
    """`tmp` is its /tmp, seen from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def tmp(self) -> Path:
        return Path(f"/proc/{self.pid}/root/tmp")

    def command(self, *argv: str) -> list[str]:
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]
        enter = ["nsenter", "--target", str(self.pid), *namespaces, "--"]
        return [*enter, "/bin/sh", "-c", 'cd / && exec "$@"', "sh", *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command in the container; return its output."""
        done = subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        assert done.returncode == 0 or not check, done
        return done.stdout


@contextmanager
def boot(directory: Path, units: dict[str, str], shown: Sequence[str]) -> Iterator[Container]:
    """Boot systemd with these unit files; skip the test where that is not possible."""
    if os.geteuid() or not os.path.exists(_SYSTEMD) or not shutil.which("nsenter"):
        pytest.skip("needs root, systemd and nsenter(1)")
    base = directory / "container"
    base.mkdir()
    # Systemd manages a cgroup of its own, which is the root of its cgroup namespace.
    group = _create_cgroup()
    command = [
        sys.executable, "-c",
        "import os, sys; open(sys.argv[1], 'w').write('0'); os.execvp(sys.argv[2], sys.argv[2:])",
        f"{group}/cgroup.procs",
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--net",
        "--kill-child", "/bin/sh", "-c", _BOOT, "sh", str(base), *shown,
    ]  # fmt: skip
    log = (directory / "boot.log").open("wb")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"booting\n":
            pytest.skip(f"no container can be created here: {(directory / 'boot.log').read_text()}")
        [pid] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        container = Container(int(pid))
        outside = Path(f"/proc/{pid}/root{base}/root/tmp/units")
        for name in _TARGETS:
            text = "[Unit]\nDefaultDependencies=no\n"
            (outside / f"{name}.target").write_text(text)
        for name, text in units.items():
            (outside / name).write_text(text)
        process.stdin.write(b"\n")
        process.stdin.flush()
        _wait_until_booted(container)
        yield container
    finally:
        process.kill()
        process.communicate()
        log.close()
        _remove_cgroup(group)


def _wait_until_booted(container: Container) -> None:
    for _ in range(600):
        state = container.run("systemctl", "is-system-running", check=False).strip()
        if state in ("running", "degraded"):
            return
        select.select([], [], [], 0.1)
    raise AssertionError("systemd did not boot")


def _create_cgroup() -> Path:
    for parent in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (parent / "cgroup.procs").exists():
            group = parent / f"mythjobs-test-{os.getpid()}"
            with suppress(FileExistsError):
                group.mkdir()
            return group
    pytest.skip("no cgroup v2 is mounted")


def _remove_cgroup(group: Path) -> None:
    for _ in range(100):
        with suppress(OSError):
            (group / "cgroup.kill").write_text("1")
        for path, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        if not group.exists():
            return
        select.select([], [], [], 0.1)
