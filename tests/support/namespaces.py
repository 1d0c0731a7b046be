"""Two network namespaces joined by a virtual cable, as two machines on a network. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

ADDRESSES: Final = ("10.77.0.1", "10.77.0.2")


@dataclass(frozen=True)
class Network:
    """names: of the two namespaces. Their addresses are ADDRESSES, on the interface `cable`."""

    names: tuple[str, str]

    def prefix(self, number: int) -> list[str]:
        """Return the words before a command that runs it in a namespace."""
        return ["ip", "netns", "exec", self.names[number]]

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it out."""
        _ip("-n", self.names[1], "link", "set", "cable", "up" if up else "down")

    def set_sending(self, number: int, is_sending: bool) -> None:
        """Let a machine send packets, or lose all that it sends while it still receives."""
        if is_sending:
            _ip("-n", self.names[number], "neigh", "del", ADDRESSES[1 - number], "dev", "cable")
        else:
            _ip("-n", self.names[number], "neigh", "replace", ADDRESSES[1 - number],
                "lladdr", "02:00:00:00:00:99", "dev", "cable", "nud", "permanent")  # fmt: skip


def find_obstacle() -> str:
    """Return why namespaces cannot be made here, "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (Debian: iproute2)"
    name = f"mythjobs-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "this container cannot make network namespaces"
    _ip("netns", "del", name)
    return ""


@contextmanager
def connected_namespaces() -> Iterator[Network]:
    first, second = f"mythjobs-{os.getpid()}-a", f"mythjobs-{os.getpid()}-b"
    made = []
    try:
        for name in (first, second):
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", "cable", "netns", first, "type", "veth",
            "peer", "name", "cable", "netns", second)  # fmt: skip
        for name, address in zip((first, second), ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield Network((first, second))
    finally:
        for name in made:
            _end_processes(name)
            _ip("netns", "del", name)


def _end_processes(name: str) -> None:
    """Kill what still runs in a namespace: a reaper lives on while an end is not acknowledged."""
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in listed.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
