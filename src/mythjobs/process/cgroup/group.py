"""Directory of one cgroup in one cgroup hierarchy: reads and writes the kernel's files in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from mythjobs.process.reserve import is_shortage, use_file, use_reserve


class CgroupDirectory:
    """A cgroup's directory below a cgroup mount. Except in create(), a missing directory or file is
    not an error."""

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self) -> None:
        """Create the directory. Raises OSError."""
        os.mkdir(self.path, 0o755)

    def remove(self) -> bool:
        """Remove the cgroup and its child cgroups. Return False if processes are left in it, as the
        kernel refuses the removal then (EBUSY)."""
        for child in self.children():
            child.remove()
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def file_path(self, name: str) -> str:
        return f"{self.path}/{name}"

    def has_file(self, name: str) -> bool:
        return os.path.exists(self.file_path(name))

    def children(self) -> Iterator[CgroupDirectory]:
        try:
            found = use_reserve(self._list_directories)
        except OSError as error:
            if is_shortage(error):
                raise
            return
        for path in found:
            yield CgroupDirectory(path)

    def _list_directories(self) -> list[str]:
        # By the path: scandir() duplicates a descriptor, so that it would need two.
        with os.scandir(self.path) as entries:
            return [each.path for each in entries if each.is_dir()]

    def read(self, name: str) -> str:
        """Return the file's content, or "" if it cannot be read.

        Raises OSError if this process lacks descriptors or memory: "" would mean that the cgroup
        is gone, although it may have processes.
        """
        try:
            return use_file(self.file_path(name), os.O_RDONLY, _read_all).decode("ascii", "replace")
        except OSError as error:
            if is_shortage(error):
                raise
            return ""

    def write(self, name: str, text: str) -> bool:
        """Write to a file; return False if that fails. Raises OSError as read() does."""
        data = text.encode("ascii")
        try:
            use_file(self.file_path(name), os.O_WRONLY, lambda fd: os.write(fd, data))
        except OSError as error:
            if is_shortage(error):
                raise
            return False
        return True

    def read_number(self, name: str) -> int | None:
        text = self.read(name).strip()
        return int(text) if text.isdigit() else None

    def read_keyed_numbers(self, name: str) -> dict[str, int]:
        """Return the numbers in a flat keyed file (cgroup-v2.rst), whose lines are "KEY NUMBER"."""
        found = {}
        for line in self.read(name).splitlines():
            key, _, value = line.partition(" ")
            if value.isdigit():
                found[key] = int(value)
        return found

    def list_pids(self) -> list[int]:
        """Return the pids of the processes in the cgroup and its child cgroups. Processes of other
        pid namespaces, listed as 0, are omitted."""
        pids = [int(each) for each in self.read("cgroup.procs").split() if each != "0"]
        for child in self.children():
            pids += child.list_pids()
        return pids

    def kill_one_by_one(self) -> None:
        """Kill each process by its pid. Used where the file cgroup.kill is missing: before Linux
        5.14, and in cgroup v1.

        A child that a process forks meanwhile survives, unless the cgroup is frozen.
        """
        for pid in self.list_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)
