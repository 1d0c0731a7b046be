"""Pipelines of MythSystem: the PIPE of one program is a standard stream of another one."""

from __future__ import annotations

import hashlib
import signal

import pytest

from mythjobs.process import PIPE, Exited, MythSystem, Signalled


def test_programs_form_a_pipeline() -> None:
    """The second program failed with EAGAIN: its stdin had the flag O_NONBLOCK of our own end."""
    first = MythSystem.shell("sleep 0.05; seq 100000", stdout=PIPE).start()
    second = MythSystem(["sort", "-n", "-r"], stdin=first.stdout, stdout=PIPE).start()
    third = MythSystem(["head", "-n", "2"], stdin=second.stdout).start()
    first.stdout.close()
    second.stdout.close()
    assert third.done().stdout.read() == b"100000\n99999\n"
    assert first.wait() == Exited(0)
    # The end of the third program reaches the second one as SIGPIPE.
    assert second.wait() == Signalled(signal.SIGPIPE, False)


def test_a_program_writes_into_another_one() -> None:
    second = MythSystem(["sha256sum"], stdin=PIPE).start()
    text = "sleep 0.05; head -c 1000000 /dev/zero"
    assert MythSystem.shell(text, stdout=second.stdin).run().outcome == Exited(0)
    second.stdin.close()
    digest = hashlib.sha256(bytes(1_000_000)).hexdigest()
    assert second.done().stdout.text().split()[0] == digest


def test_output_for_another_program_is_not_read_ahead() -> None:
    """While this process writes to the first program, the output belongs to the second one."""
    first = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
    second = MythSystem.shell("sleep 0.05; wc -c", stdin=first.stdout).start()
    assert first.stdin.write(bytes(1_000_000))
    first.stdin.close()
    assert first.wait() == Exited(0)
    assert second.done().stdout.read() == b"1000000\n"


def test_a_closed_pipe_or_a_buffer_is_misuse() -> None:
    first = MythSystem(["true"], stdout=PIPE).start()
    first.stdout.close()
    with pytest.raises(ValueError, match="closed"):
        MythSystem(["cat"], stdin=first.stdout)
    with pytest.raises(ValueError, match="must be a PIPE"):
        MythSystem(["cat"], stdin=MythSystem(["true"]).start().stdout)
