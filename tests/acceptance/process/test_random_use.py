"""Random arguments, environments and call sequences on MythSystem."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mythjobs.process import PIPE, Exited, MythSystem, Outcome, Process, Reader, Signalled, Stopped
from mythjobs.process.spawn import stub

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("MYTHJOBS_EXAMPLES", "60"))
anything = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

texts = st.binary(max_size=300).filter(lambda text: b"\0" not in text)
names = texts.filter(lambda name: bool(name) and b"=" not in name)
SHOW = "/bin/cat /proc/$$/cmdline; echo; /bin/cat /proc/$$/environ"


@pytest.fixture(params=["direct", "compiled", "interpreted"])
def more(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Keyword arguments that select this way to spawn."""
    if request.param == "direct":
        yield {}
        return
    if request.param == "compiled" and not os.access(stub.compiled_stub()[0], os.X_OK):
        pytest.skip("the stub is not compiled here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub, "find_stub", getattr(stub, f"{request.param}_stub"))
        stub._pinned_stub.cache_clear()
        yield {"umask": 0o22}
    stub._pinned_stub.cache_clear()


@anything
@given(args=st.lists(texts, max_size=8), env=st.dictionaries(names, texts, max_size=8))
def test_arguments_and_environment_arrive_byte_for_byte(
    more: dict[str, Any], args: list[bytes], env: dict[bytes, bytes]
) -> None:
    given_argv = [b"/bin/sh", b"-c", SHOW.encode(), *args]
    done = MythSystem(given_argv, env=env, **more).run()
    assert done.outcome == Exited(0)
    pairs = [name + b"=" + value for name, value in env.items()]
    expected = b"".join(each + b"\0" for each in given_argv) + b"\n"
    shown = done.stdout.read()
    assert shown.startswith(expected)
    assert sorted(shown[len(expected) :].split(b"\0")[:-1]) == sorted(pairs)


# The daemon holds the pipe that the test reads to EOF, and reads nothing itself.
ECHO = "(trap '' TERM HUP; setsid sleep 600 </dev/null >/dev/null &); exec cat"
CALLS = ("write", "read", "close", "pause", "resume", "usage", "pids", "wait", "hup", "stop")


@pytest.mark.parametrize("contain", [False, True])
@anything
@given(calls=st.lists(st.sampled_from(CALLS), max_size=25), last=st.sampled_from(("end", "kill")))
def test_any_sequence_of_calls_ends_with_a_legal_outcome_and_no_process(
    contain: bool, calls: list[str], last: str
) -> None:
    process = MythSystem.shell(
        ECHO, stdin=PIPE, stdout=PIPE, stderr=PIPE, contain=contain, session=True
    ).start()
    assert isinstance(process.stdout, Reader)
    fed = b""
    received = b""
    for call in calls:
        match call:
            case "write":
                if process.stdin.write(b"some words\n"):
                    fed += b"some words\n"
            case "read":
                received += _read_available(process.stdout)
            case _:
                _call(process, call)
    legal: set[Outcome] = {Exited(0)}
    if "hup" in calls:
        legal.add(Signalled(signal.SIGHUP))
    if "stop" in calls or last == "kill":
        legal.add(Stopped("user"))
    process.stdin.close()
    if last == "kill":
        process.kill()
    process.resume()
    outcome = process.wait(30)
    assert outcome in legal
    received += process.stdout.read()
    assert fed.startswith(received)
    if outcome == Exited(0) and "pause" not in calls and "stop" not in calls and last != "kill":
        assert received == fed
    # A process that was left would hold this pipe open.
    assert isinstance(process.stderr, Reader)
    assert process.stderr.read() == b""
    assert process.pids() == ()


def _read_available(stream: Reader) -> bytes:
    if not select.select([stream], [], [], 0)[0]:
        return b""
    return stream.read_some()


def _call(process: Process, call: str) -> None:
    match call:
        case "close":
            process.stdin.close()
        case "pause":
            process.pause()
        case "resume":
            process.resume()
        case "usage":
            process.usage()
        case "pids":
            process.pids()
        case "wait":
            process.wait(0)
        case "hup":
            process.signal(signal.SIGHUP)
        case "stop":
            process.stop(grace_s=0.02)
