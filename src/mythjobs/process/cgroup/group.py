"""One group in one hierarchy: its files, read and written. Decides nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator


class Group:
    """A directory under a mount of cgroups. What is gone already is no error."""

    def __init__(self, path: str) -> None:
        self.path = path

    def make(self) -> None:
        """Raises OSError."""
        os.mkdir(self.path, 0o755)

    def remove(self) -> bool:
        """With the groups that were made in it. False while it is not empty (EBUSY)."""
        for below in self.below():
            below.remove()
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    def has(self, name: str) -> bool:
        return os.path.exists(self.file(name))

    def below(self) -> Iterator[Group]:
        try:
            found = [each.path for each in os.scandir(self.path) if each.is_dir()]
        except OSError:
            return
        for path in found:
            yield Group(path)

    def read(self, name: str) -> str:
        """Empty if there is none."""
        try:
            fd = os.open(self.file(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ""
        parts = []
        try:
            while part := os.read(fd, 65536):
                parts.append(part)
        except OSError:
            return ""
        finally:
            os.close(fd)
        return b"".join(parts).decode("ascii", "replace")

    def write(self, name: str, text: str) -> bool:
        try:
            fd = os.open(self.file(name), os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.write(fd, text.encode("ascii"))
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def number(self, name: str) -> int | None:
        text = self.read(name).strip()
        return int(text) if text.isdigit() else None

    def table(self, name: str) -> dict[str, int]:
        """A flat keyed file: lines of a word and a number."""
        found = {}
        for line in self.read(name).splitlines():
            key, _, value = line.partition(" ")
            if value.isdigit():
                found[key] = int(value)
        return found

    def pids(self) -> list[int]:
        """Of the group and of all below it; those of another namespace of pids are 0."""
        found = [int(each) for each in self.read("cgroup.procs").split() if each != "0"]
        for below in self.below():
            found += below.pids()
        return found

    def signal(self, number: int) -> int:
        count = 0
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except OSError:
                continue
            count += 1
        return count

    def kill_one_by_one(self) -> None:
        """For a kernel before 5.14 and for the first version: frozen, none of them can fork."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
