"""Usage of programs: what is not known exactly says so, and the peak is the program's own."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from mythjobs.process import PIPE, Done, MythSystem, Reader
from tests.integration.process.host_script import output_of

# A child that its parent does not wait for.
UNWAITED = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.2:
        pass
    os.write(1, b"burnt")
    os._exit(0)
os.read(0, 1)
"""


def run_unwaited(**more: Any) -> Done:
    argv = [sys.executable, "-c", UNWAITED]
    with MythSystem(argv, stdin=PIPE, stdout=PIPE, **more).start() as process:
        assert isinstance(process.stdout, Reader)
        assert process.stdout.read_some() == b"burnt"
    return process.done()


@pytest.mark.slow
def test_usage_is_not_exact_if_a_descendant_may_be_missing() -> None:
    usage = run_unwaited().usage
    assert usage.cpu_s > 0.2 or not usage.exact
    assert not MythSystem.shell("(setsid true &)").run().usage.exact


@pytest.mark.slow
def test_usage_of_a_contained_program_has_all_descendants() -> None:
    done = run_unwaited(contain=True)
    if not done.usage.exact:
        pytest.skip("there is no writable cgroup")
    assert done.usage.cpu_s > 0.2


HOST = """
ballast = bytearray(200 * 2**20)
# A freed peak counts as well.
ballast = None
def peak_of(code, **more):
    argv = [sys.executable, "-S", "-c", code]
    with MythSystem(argv, stdin=PIPE, stdout=PIPE, **more).start() as process:
        process.stdout.read_some()
        time.sleep(DELAY)
    return process.done().usage.peak_bytes // 2**20
"""


@pytest.mark.slow
def test_the_peak_is_the_programs_where_the_host_is_larger() -> None:
    script = """
DELAY = 0.4
code = "x = b'x' * (70 * 2**20); print(len(x), flush=True); import sys; sys.stdin.read()"
print(peak_of(code))
"""
    assert 70 <= int(output_of(HOST + script)) < 150


@pytest.mark.slow
def test_the_peak_is_never_the_hosts() -> None:
    script = """
for _ in range(200):
    done = MythSystem(["true"]).run()
    assert done.usage.peak_bytes < 50 * 2**20, done.usage
"""
    output_of(HOST + script)


@pytest.mark.slow
def test_the_peak_of_a_descendant_counts() -> None:
    script = """
DELAY = 0.4
code = '''
import os, sys
if os.fork() == 0:
    x = b'x' * (70 * 2**20)
    print(len(x), flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
'''
print(peak_of(code))
"""
    assert 70 <= int(output_of(HOST + script)) < 150


@pytest.mark.slow
def test_the_peak_of_a_stopped_program_is_read_before() -> None:
    script = """
code = "x = b'x' * (70 * 2**20); print(len(x), flush=True); import time; time.sleep(60)"
process = MythSystem([sys.executable, "-S", "-c", code], stdout=PIPE).start()
process.stdout.read_some()
process.terminate()
print(process.done().usage.peak_bytes // 2**20)
"""
    assert 70 <= int(output_of(HOST + script)) < 150


def test_wall_time_is_the_programs() -> None:
    begun_s = time.monotonic()
    usage = MythSystem(["sleep", "0.5"]).run().usage
    # On a busy machine the time begins some milliseconds after the program.
    assert 0.3 < usage.wall_s < time.monotonic() - begun_s + 0.1
