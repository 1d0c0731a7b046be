"""Parsing of command definitions, and errors for invalid ones."""

from __future__ import annotations

import math

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.policy_tables import RETRYABLE_OUTCOMES, Retry, Windows
from mythjobs.model.progress import ProgressReader


def defined(**table: object) -> Command:
    return command_from_table({"name": "flag", "argv": ["/bin/true"], **table})


def error_of(**table: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        defined(**table)
    return caught.value.sentence


def test_a_minimal_command_has_no_limits_and_a_cgroup() -> None:
    command = defined()
    assert command.contain
    assert command.retry == Retry(0, 60.0, RETRYABLE_OUTCOMES, "")
    assert command.windows == Windows()
    assert (command.semaphores, command.labels, command.at_most) == ((), (), None)
    assert (command.silence, command.lease_s) == ("", None)


def test_limits_are_parsed_in_their_units() -> None:
    command = defined(
        limits={
            "wall": "6h", "cpu": "20h", "idle": "10m", "memory": "2GiB", "output": "1GiB",
            "processes": 64, "grace": "3s", "nice": 10, "io": "best-effort:7", "on_breach": "hold",
        }
    )  # fmt: skip
    limits = command.limits
    assert (limits.wall_s, limits.cpu_s, limits.idle_s) == (21600, 72000, 600)
    assert (limits.memory_bytes, limits.output_bytes, limits.processes) == (2**31, 2**30, 64)
    assert (limits.grace_s, command.nice, command.io) == (3, 10, "best-effort:7")
    assert command.on_breach == "hold"


def test_retry_windows_semaphores_and_other_keys_are_parsed() -> None:
    command = defined(
        retry={"failures": 2, "backoff": "1m", "on": ["exited", "breached"], "later": "NAS off"},
        windows={"open": ["mon-fri 22:00-06:00"], "closing": "freeze", "grace": "30s"},
        semaphores={"tuner": 1, "nas": 3},
        labels=["gpu", "big"],
        silence="rerun",
        lease="6h",
        at_most=3,
    )
    assert command.retry == Retry(2, 60.0, ("exited", "breached"), "NAS off")
    assert command.windows == Windows(("mon-fri 22:00-06:00",), "freeze", 30.0)
    assert command.semaphores == (("nas", 3), ("tuner", 1))
    assert command.labels == ("big", "gpu")
    assert (command.lease_s, command.at_most) == (21600, 3)
    assert defined(silence="hold", lease="forever").lease_s == math.inf


@pytest.mark.parametrize(
    "table,error",
    [
        ({"limit": {}}, "limit: unknown key; known are name"),
        ({"limits": {"ram": "2GiB"}}, "limits.ram: unknown key; known are wall"),
        ({"limits": {"memory": "lots"}}, 'limits.memory: "lots" is not a size; write it like'),
        ({"limits": {"memory": "0B"}}, "limits.memory: must be larger than 0B"),
        ({"limits": {"wall": "0s"}}, "limits.wall: must be longer than 0s"),
        ({"limits": {"idle": "100ms"}}, "limits.idle: must be at least 1s"),
        ({"limits": {"processes": 0}}, "limits.processes: must be a whole number from 1"),
        ({"limits": {"nice": 20}}, "limits.nice: must be a whole number from 0 to 19"),
        ({"limits": {"io": "fast"}}, 'limits.io: "fast" must be one of best-effort:0'),
        ({"limits": {"on_breach": "panic"}}, '"panic" must be one of fail, retry, hold'),
        ({"limits": {"on_breach": "retry"}}, "needs [retry] failures = N"),
        ({"limits": 3}, "limits: must be a table, like [limits]"),
        ({"retry": {"failures": -1}}, "retry.failures: must be a whole number from 0"),
        ({"retry": {"failures": True}}, "retry.failures: must be a whole number"),
        ({"retry": {"failures": 1, "on": ["lost"]}}, 'retry.on: "lost" must be one of exited'),
        ({"retry": {"on": ["exited"]}}, "retry.on: needs failures = N"),
        ({"retry": {"backoff": "1m"}}, "retry.backoff: needs failures = N"),
        ({"retry": {"later": "("}}, "retry.later: is not a regular expression"),
        ({"windows": {"open": ["22-6"]}}, 'windows.open: "22-6" is not a range of hours'),
        ({"windows": {"open": ["06:00-06:00"]}}, "could mean never or always"),
        ({"windows": {"open": []}}, "windows.open: is empty; remove it"),
        ({"windows": {"closing": "kill"}}, '"kill" must be one of finish, freeze, requeue'),
        (
            {"windows": {"closing": "finish", "grace": "3s"}},
            "ends no job, so a grace has no effect",
        ),
        ({"semaphores": {"NAS": 1}}, "semaphores.NAS: is not a valid name"),
        ({"semaphores": {"nas": 0}}, "semaphores.nas: must be a whole number from 1"),
        ({"semaphores": ["nas"]}, "semaphores: must be a table, like semaphores = { nas = 1 }"),
        ({"labels": ["my gpu"]}, '"my gpu" is not a valid label'),
        ({"labels": "gpu"}, 'labels: must be a list of strings, like labels = ["gpu"]'),
        ({"at_most": 0}, "at_most: must be a whole number from 1"),
        ({"silence": "ignore"}, 'silence: "ignore" must be one of rerun, hold, keep, idempotent'),
        ({"lease": "6h"}, 'lease: needs silence = "rerun" or "hold"'),
        ({"silence": "keep", "lease": "6h"}, 'lease: needs silence = "rerun" or "hold"'),
        ({"silence": "rerun", "lease": "10s"}, "lease: must be at least 60s"),
        (
            {"contain": False, "limits": {"memory": "1GiB"}},
            "contain: the limit memory applies to the process tree",
        ),
        ({"contain": False, "limits": {"idle": "1m"}}, "remove contain = false"),
        ({"contain": False, "windows": {"closing": "freeze"}}, "needs a cgroup"),
    ],
)
def test_an_invalid_value_is_rejected_with_key_and_remedy(
    table: dict[str, object], error: str
) -> None:
    assert error in error_of(**table)


def test_daemons_may_be_left_without_a_cgroup() -> None:
    # Seen: refused as having no effect. Without it a cgroup-less tree is ended all the same.
    command = defined(contain=False, leave_daemons=True)
    assert command.leave_daemons
    assert not command.contain


def test_limits_of_the_leader_need_no_cgroup() -> None:
    assert not defined(contain=False, limits={"wall": "1m", "output": "1MiB"}).contain


@pytest.mark.parametrize("regex", [r"(\d+) \u2030", r"(?u)(\d+)%", r"\N{PER MILLE SIGN} (\d+)"])
def test_an_expression_that_is_invalid_for_bytes_is_rejected(regex: str) -> None:
    error = error_of(progress={"regex": regex})
    assert error.startswith("progress.regex: is not a regular expression")


def test_an_expression_searches_the_bytes_of_the_output() -> None:
    reader = ProgressReader(defined(progress={"regex": "([a-z0-9]+) ‰"}).progress)
    reader.feed("42 ‰\nnan ‰\ninf ‰\n".encode())
    assert reader.percent == 42.0


def test_stdin_is_a_template_of_a_path() -> None:
    assert defined().stdin == ""
    parameters = [{"name": "source", "type": "path"}]
    assert defined(stdin="{source}", parameters=parameters).stdin == "{source}"
    shell = {"name": "count", "shell": "wc -l", "stdin": "/srv/in"}
    assert command_from_table(shell).stdin == "/srv/in"
    assert defined(stdin="in.txt", cwd="/srv").stdin == "in.txt"


@pytest.mark.parametrize(
    "stdin, why",
    [
        (7, "stdin: must be text in quotes"),
        ("/a\0b", "stdin: must not have a NUL character"),
        ("/srv/{x}", "stdin: {x} is not a declared parameter"),
        ("/srv/{", 'stdin: "{" at character 6 is neither'),
        ("in.txt", 'stdin: "in.txt" is relative to the working directory; set cwd, or give an '),
    ],
)
def test_an_invalid_stdin_is_refused(stdin: object, why: str) -> None:
    assert error_of(stdin=stdin).startswith(why)
