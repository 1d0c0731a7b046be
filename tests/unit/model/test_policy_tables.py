"""Tables shared by definitions and machine policies: limits, windows, retry, semaphores, labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model import policy_tables as p
from mythjobs.model.bounds import Bounds

DURATION = 'is not a duration; write it like "90s", "10m" or "1h30m"'
SIZE = 'is not a size; write it like "512MiB" or "2GiB"'
NAME = "use small letters and digits, joined by - _ or ."
FAILURES = "retry.failures: must be a whole number from 0 to 1000"


@pytest.mark.parametrize(
    "read, value, error",
    [
        (p.read_bounds, 3, 'limits: must be a table, like [limits] with wall = "6h"'),
        (
            p.read_bounds,
            {"ram": "2GiB"},
            "limits.ram: unknown key; known are wall, cpu, idle, memory, output, processes, "
            "grace, nice, io",
        ),
        (p.read_bounds, {"wall": "1"}, f'limits.wall: "1" {DURATION}'),
        (p.read_bounds, {"wall": "0s"}, "limits.wall: must be longer than 0s"),
        (p.read_bounds, {"cpu": "1"}, f'limits.cpu: "1" {DURATION}'),
        (p.read_bounds, {"idle": "100ms"}, "limits.idle: must be at least 1s"),
        (p.read_bounds, {"memory": "lots"}, f'limits.memory: "lots" {SIZE}'),
        (p.read_bounds, {"memory": "0B"}, "limits.memory: must be larger than 0B"),
        (p.read_bounds, {"output": "1"}, f'limits.output: "1" {SIZE}'),
        (
            p.read_bounds,
            {"processes": 0},
            "limits.processes: must be a whole number from 1 to 4194304",
        ),
        (
            p.read_bounds,
            {"processes": 4_194_305},
            "limits.processes: must be a whole number from 1 to 4194304",
        ),
        (p.read_bounds, {"grace": "1"}, f'limits.grace: "1" {DURATION}'),
        (p.read_bounds, {"nice": 20}, "limits.nice: must be a whole number from 0 to 19"),
        (p.read_bounds, {"nice": -1}, "limits.nice: must be a whole number from 0 to 19"),
        (
            p.read_bounds,
            {"io": "fast"},
            'limits.io: "fast" must be one of best-effort:0, best-effort:1, best-effort:2, '
            "best-effort:3, best-effort:4, best-effort:5, best-effort:6, best-effort:7, idle",
        ),
        (
            p.read_windows,
            7,
            'windows: must be a table, like [windows] with open = ["22:00-06:00"]',
        ),
        (
            p.read_windows,
            {"opens": []},
            "windows.opens: unknown key; known are open, closing, grace",
        ),
        (
            p.read_windows,
            {"open": "22:00-06:00"},
            'windows.open: must be a list of strings, like open = ["mon-fri 22:00-06:00"]',
        ),
        (
            p.read_windows,
            ["22-6"],
            'windows.open: "22-6" is not a range of hours; write it like "02:00-05:00" or '
            '"mon-fri 22:00-06:00"',
        ),
        (
            p.read_windows,
            {"open": []},
            "windows.open: is empty; remove it for hours that are always open",
        ),
        (
            p.read_windows,
            [f"00:00-01:00 at most {n}" for n in range(1, 102)],
            "windows.open: has more than 100 ranges",
        ),
        (
            p.read_windows,
            {"closing": "kill"},
            'windows.closing: "kill" must be one of finish, freeze, requeue, terminate',
        ),
        (
            p.read_windows,
            {"closing": 7},
            'windows.closing: must be text in quotes, like closing = "…"',
        ),
        (p.read_windows, {"grace": "x"}, f'windows.grace: "x" {DURATION}'),
        (
            p.read_windows,
            {"closing": "finish", "grace": "3s"},
            'windows.grace: closing = "finish" ends no job, so a grace has no effect; remove one '
            "of them",
        ),
        (p.read_retry, [], "retry: must be a table, like [retry] with failures = 2"),
        (
            p.read_retry,
            {"fail": 1},
            "retry.fail: unknown key; known are failures, backoff, on, later",
        ),
        (p.read_retry, {"failures": -1}, FAILURES),
        (p.read_retry, {"failures": 1001}, FAILURES),
        (p.read_retry, {"failures": True}, FAILURES),
        (p.read_retry, {"later": 7}, 'retry.later: must be text in quotes, like later = "…"'),
        (
            p.read_retry,
            {"failures": 1, "on": "exited"},
            'retry.on: must be a list of strings, like on = ["exited"]',
        ),
        (
            p.read_retry,
            {"failures": 1, "on": [7]},
            'retry.on: must be a list of strings, like on = ["exited"]',
        ),
        (
            p.read_retry,
            {"failures": 1, "on": ["lost"]},
            'retry.on: "lost" must be one of exited, signalled, breached, not_started',
        ),
        (p.read_retry, {"on": ["exited"]}, "retry.on: needs failures = N, the number of retries"),
        (p.read_retry, {"backoff": "1m"}, "retry.backoff: needs failures = N, or later = '…'"),
        (p.read_retry, {"failures": 1, "backoff": "x"}, f'retry.backoff: "x" {DURATION}'),
        (
            p.read_retry,
            {"later": "("},
            "retry.later: is not a regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
        (
            p.read_semaphores,
            ["nas"],
            "semaphores: must be a table, like semaphores = { nas = 1 }",
        ),
        (p.read_semaphores, {"NAS": 1}, f"semaphores.NAS: is not a valid name; {NAME}"),
        (
            p.read_semaphores,
            {"nas": 0},
            "semaphores.nas: must be a whole number from 1 to 1000000",
        ),
        (
            p.read_semaphores,
            {"nas": 1_000_001},
            "semaphores.nas: must be a whole number from 1 to 1000000",
        ),
        # Seen: accepted from JSON; placement then compared None with the semaphore's size.
        (
            p.read_semaphores,
            {"nas": None},
            "semaphores.nas: must not be null; give the number of units",
        ),
        (
            p.read_labels,
            {"labels": "gpu"},
            'labels: must be a list of strings, like labels = ["gpu"]',
        ),
        (
            p.read_labels,
            {"labels": ["my gpu"]},
            f'labels: "my gpu" is not a valid label; {NAME}, or two such names joined by :',
        ),
        (
            p.read_labels,
            {"labels": [""]},
            'labels: must be a list of strings, like labels = ["gpu"]',
        ),
    ],
)
def test_an_invalid_value_is_refused_with_key_and_remedy(
    read: Callable[[Any], object], value: object, error: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        read(value)
    assert caught.value.sentence == error


def test_errors_have_the_key_of_a_nested_table() -> None:
    tables: list[tuple[Callable[..., object], object, str]] = [
        (p.read_bounds, {"cpu": "1"}, "commands.flag.cpu"),
        (p.read_windows, ["x"], "commands.flag.open"),
        (p.read_semaphores, {"nas": 0}, "commands.flag.nas"),
    ]
    for read, value, key in tables:
        with pytest.raises(DefinitionError) as caught:
            read(value, "commands.flag")
        assert caught.value.key == key
    with pytest.raises(DefinitionError) as caught:
        p.read_labels({"labels": "gpu"}, "commands.flag.")
    assert caught.value.key == "commands.flag.labels"
    with pytest.raises(DefinitionError) as caught:
        p.read_labels({"labels": ["my gpu"]}, "commands.flag.")
    assert caught.value.key == "commands.flag.labels"


def test_the_largest_values_are_accepted() -> None:
    table = {"processes": 4_194_304, "nice": 19, "idle": "1s", "memory": "1B"}
    assert p.read_bounds(table) == Bounds(processes=4_194_304, nice=19, idle_s=1, memory_bytes=1)
    ranges = [f"00:00-01:00 at most {n}" for n in range(1, 101)]
    assert p.read_windows(ranges) == p.Windows(tuple(ranges))
    assert p.read_retry({"failures": 1000}).failures == 1000
    assert p.read_semaphores({"nas": 1_000_000}) == (("nas", 1_000_000),)
    assert p.read_semaphores({"nas": 0, "gpu": 2}, least=0) == (("gpu", 2), ("nas", 0))


def test_a_backoff_needs_failures_or_later() -> None:
    assert p.read_retry({"failures": 2, "backoff": "5m"}) == p.Retry(2, 300.0)
    assert p.read_retry({"later": "off", "backoff": "5m"}) == p.Retry(0, 300.0, later="off")
    assert p.read_retry({}) == p.Retry()
