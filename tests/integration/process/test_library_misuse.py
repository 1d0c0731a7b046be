"""Misuse of MythSystem raises ValueError; odd but meaningful values have their meaning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mythjobs.process import PIPE, Exited, Limits, MythSystem, Process, Stopped


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: MythSystem([]),
        lambda: MythSystem([""]),
        lambda: MythSystem("ls -l"),
        lambda: MythSystem(["a\0b"]),
        lambda: MythSystem(["a"], env={"A=B": "c"}),
        lambda: MythSystem(["a"], cwd="a\0b"),
        lambda: MythSystem(["a"], limits=Limits(wall_s=-1)),
        lambda: MythSystem(["a"], limits=Limits(cpu_s=float("inf"))),
        lambda: MythSystem(["a"], stdout=PIPE).run(),
        lambda: MythSystem(["true"]).start().stdin,
        lambda: MythSystem([3]),  # type: ignore[list-item]
        lambda: MythSystem(["a"], stdin=3.5),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], stdout=-1),
        lambda: MythSystem(["a"], env={"A": 1}),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], env_add={"": "1"}),
        lambda: MythSystem(["a"], pass_fds=[-1]),
        lambda: MythSystem(["a"], pass_fds=["1"]),  # type: ignore[list-item]
        lambda: MythSystem(["a"], limits=Limits(wall_s=math.nan)),
        lambda: MythSystem(["a"], limits=Limits(wall_s="1")),  # type: ignore[arg-type]
        lambda: MythSystem(5),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], env=[("A", "1")]),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], pass_fds=3),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], keep=5),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], keep=("a", 1)),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], keep=(1, -1)),
        lambda: MythSystem(["a"], keep=(1.5, 2)),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], limits={"wall_s": 1}),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], nice="5"),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], nice=10**20),
        lambda: MythSystem(["true"]).run().stdout.head("a"),  # type: ignore[arg-type]
        lambda: MythSystem(["true"]).run().stdout.tail(1.5),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], umask=1.0),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], umask="022"),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], user=0),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], user=""),
        lambda: MythSystem(["a"], io=3),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], rlimits=[(7, 5)]),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], rlimits={7: (5, 2**64)}),
        lambda: MythSystem(["a"], rlimits={7: (-2, 5)}),
        lambda: MythSystem(["a"], stdin=2**31),
        lambda: MythSystem(["a"], pass_fds=[2**40]),
        lambda: MythSystem(["a"], stdout=""),
        lambda: MythSystem(["a"], cwd=""),
        lambda: MythSystem(["a"], limits=Limits(memory_bytes=2**80)),
        lambda: MythSystem(["a"], limits=Limits(memory_bytes=1e9)),  # type: ignore[arg-type]
        lambda: MythSystem(["a"], limits=Limits(processes=5_000_000)),
        lambda: MythSystem(["a"], rlimits={7: 5}),  # type: ignore[dict-item]
        lambda: MythSystem(["a"], rlimits={"nofile": (5, 5)}),  # type: ignore[dict-item]
    ],
)
def test_only_misuse_raises(wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong()  # type: ignore[operator]


_INTEGER = "must be an integer from"
_SECONDS = "must be a finite number of seconds, at least 0"


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("memory_bytes", 0, f"{_INTEGER} 1 to 9223372036854775807, or None for no limit"),
        ("memory_bytes", -1, _INTEGER),
        ("memory_bytes", True, _INTEGER),
        ("memory_bytes", "1GB", _INTEGER),
        ("memory_bytes", math.nan, _INTEGER),
        ("output_bytes", 1.5, f"{_INTEGER} 0 to"),
        ("output_bytes", -1, _INTEGER),
        ("processes", 0, f"{_INTEGER} 1 to 4194304, or None for no limit"),
        ("processes", False, _INTEGER),
        ("wall_s", True, f"{_SECONDS}, or None for no limit"),
        ("wall_s", math.nan, _SECONDS),
        ("idle_s", "5", _SECONDS),
        ("cpu_s", 10**400, _SECONDS),
        ("grace_s", None, _SECONDS),
        ("grace_s", -0.1, _SECONDS),
    ],
)
def test_an_error_about_a_limit_names_it_and_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    limits = Limits(**{name: value})
    process = MythSystem(["sleep", "600"]).start()
    for use in (lambda: MythSystem(["true"], limits=limits), lambda: process.limit(limits)):
        with pytest.raises(ValueError, match=f"^limits: {name} {allowed}.*, not ") as raised:
            use()
        assert str(raised.value).endswith(f"not {value!r}")
    assert process.kill() == Stopped("user")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda process: process.wait(math.nan),
        lambda process: process.wait("1"),
        lambda process: process.terminate(math.nan),
        lambda process: process.terminate(math.inf),
        lambda process: process.terminate(-1),
        lambda process: process.stop(math.nan),
        lambda process: process.signal(999),
        lambda process: process.signal(-15),
        lambda process: process.signal(1.5),
        lambda process: process.limit(Limits(grace_s=math.inf)),
        lambda process: process.communicate(timeout_s=math.nan),
        lambda process: process.communicate(b"input"),
        lambda process: process.limit(None),
    ],
)
def test_misuse_of_a_process_raises_and_does_nothing(wrong: Callable[[Process], object]) -> None:
    process = MythSystem(["sleep", "600"]).start()
    with pytest.raises(ValueError):
        wrong(process)
    assert process.wait(0) is None
    assert process.stopping is None
    assert process.signal(0) == 1
    assert process.kill() == Stopped("user")


@pytest.mark.parametrize("wrong", ["text", 10, None, memoryview(b"every other")[::2]])
def test_input_that_is_no_bytes_is_misuse(wrong: object) -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    with pytest.raises(ValueError):
        process.stdin.write(wrong)  # type: ignore[arg-type]
    if wrong is not None and not isinstance(wrong, memoryview):
        with pytest.raises(ValueError):
            process.communicate(wrong)  # type: ignore[arg-type]
    # An integer must not become that many zero bytes.
    assert process.communicate(b"right") == (b"right", b"")


def test_waiting_times_may_be_infinite_huge_or_negative() -> None:
    # 30 days are more milliseconds than the C int of poll(2) holds.
    for timeout_s in (30 * 86_400, 1e300):
        process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
        assert process.communicate(b"data", timeout_s=timeout_s) == (b"data", b"")
    process = MythSystem(["cat"], stdin=PIPE).start()
    assert process.wait(-1) is None
    assert process.communicate(timeout_s=-1) is None
    process.stdin.close()
    assert process.wait(math.inf) == process.wait(1e300) == process.wait(10**10) == Exited(0)
    assert process.communicate(timeout_s=math.inf) == (b"", b"")
    huge = MythSystem(["true"], limits=Limits(wall_s=1e10)).start()
    assert huge.wait() == Exited(0)


def test_methods_of_an_ended_process_do_nothing() -> None:
    for process in (MythSystem(["true"]).start(), MythSystem(["/none"]).start()):
        outcome = process.wait()
        assert (process.signal(15), process.pids(), process.stopping) == (0, (), None)
        process.pause()
        process.resume()
        process.limit(Limits(wall_s=1))
        process.stop()
        assert process.terminate() == process.kill() == process.wait() == outcome
