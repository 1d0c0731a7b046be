"""MythSystem where descriptors, threads or memory are lacking.

Each case is a fork of a program that has not used the class yet. It runs a program that leaves a
file, while the machine's means are limited, and again when they are back.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.process.host_script import output_of

pytestmark = pytest.mark.slow

# For each number, in a fork: limit(number) before the first use, then without it.
CASES = """
import traceback
directory = sys.argv[1]
before = {kind: resource.getrlimit(kind) for kind in KINDS}

def mark_of(number): return os.path.join(directory, str(number))

def run(number, **more):
    process = MythSystem(["/bin/sh", "-c", ': >"$1"', "sh", mark_of(number)], **more).start()
    try:
        try:
            process.pid, process.pids(), process.usage(), process.signal(0), repr(process)
        except MemoryError:
            # On a machine with many processes, those of the tree are searched among all.
            assert resource.RLIMIT_AS in KINDS
        outcome = process.wait(60)
        assert outcome is not None, "hangs"
        # A program that is told not to have started must not have run, nor run later.
        if isinstance(outcome, NotStarted):
            assert outcome.errno in ERRORS, outcome
            assert not os.path.exists(mark_of(number)), outcome
        else:
            assert outcome == Exited(0), outcome
    finally:
        del process
    return outcome

def case(number, **more):
    limit(number)
    first = run(number, **more)
    for kind, (soft, hard) in before.items():
        resource.setrlimit(kind, (soft, hard))
    if isinstance(first, NotStarted):
        run(str(number) + ".none", **more)
        assert not os.path.exists(mark_of(number)), "ran later"
    assert run(str(number) + ".again", **more) == Exited(0)
    return first

def each(numbers, **more):
    first = None
    for number in numbers:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                outcome = case(number, **more)
                os.write(writer, type(outcome).__name__.encode())
                sys.stdout.flush()
                MythSystem  # the exit must not hang either
                sys.exit(0)
            except SystemExit:
                raise
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(writer)
        kind = open(reader, "rb").read().decode()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (number, more)
        yield kind
"""


def run_cases(script: str, tmp_path: Path) -> list[str]:
    """Return the outcomes, in the order of the numbers."""
    return output_of(script, str(tmp_path)).split()


@pytest.mark.parametrize(
    "more", ["", "contain=True", "stdin=b'x' * 200_000", "nice=1, cwd='/'", "pass_fds=[0]"]
)
def test_first_use_with_few_descriptors(more: str, tmp_path: Path) -> None:
    script = f"""
KINDS, ERRORS = [resource.RLIMIT_NOFILE], [24]
{CASES}
def limit(number):
    used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    soft, hard = before[resource.RLIMIT_NOFILE]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + number, hard))
found = list(each(range(40), {more}))
print(*found)
"""
    found = run_cases(script, tmp_path)
    assert found[0] == "NotStarted"
    assert found[-1] == "Exited"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user without other processes")
def test_first_use_without_threads(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    script = f"""
KINDS, ERRORS = [resource.RLIMIT_NPROC], [11]
{CASES}
def limit(number):
    # The limit does not hold for root.
    user = 61000 + number
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    resource.setrlimit(resource.RLIMIT_NPROC, (1 + number, before[resource.RLIMIT_NPROC][1]))
print(*each(range(5)))
"""
    found = run_cases(script, tmp_path)
    # One thread supervises, another one spawns, and the program needs a process.
    assert found[:3] == ["NotStarted"] * 3
    assert found[-1] == "Exited"


def test_first_use_with_little_memory(tmp_path: Path) -> None:
    script = f"""
KINDS, ERRORS = [resource.RLIMIT_AS], [11, 12]
{CASES}
def limit(number):
    text = open("/proc/self/status").read()
    used = int(text.split("VmSize:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + number * 2**20, before[resource.RLIMIT_AS][1]))
print(*each([1, 4, 9, 12, 17, 40, 300]))
"""
    found = run_cases(script, tmp_path)
    assert found[-1] == "Exited"


def test_descriptors_may_run_out_later(tmp_path: Path) -> None:
    script = f"""
KINDS, ERRORS = [resource.RLIMIT_NOFILE], [24]
{CASES}
for _ in range(3):
    MythSystem(["true"]).run()
kinds = set()
for number in range(12):
    for more in {{}}, {{"contain": True}}:
        used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        # No number below is free.
        holes = []
        while not holes or holes[-1] < used:
            holes.append(os.open("/dev/null", os.O_RDONLY))
        soft, hard = before[resource.RLIMIT_NOFILE]
        resource.setrlimit(resource.RLIMIT_NOFILE, (holes[-1] + 1 + number, hard))
        name = f"{{number}}.{{more}}"
        outcome = run(name, **more)
        kinds.add(type(outcome).__name__)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in holes:
            os.close(fd)
        assert run(name + ".again", **more) == Exited(0)
        if isinstance(outcome, NotStarted):
            assert not os.path.exists(mark_of(name)), "ran later"
print(*sorted(kinds))
"""
    assert run_cases(script, tmp_path) == ["Exited", "NotStarted"]


@pytest.mark.parametrize("keep", ["(4 * 2**20, 12 * 2**20)", "ALL", "(100, 0)", "(0, 100)"])
def test_much_output_without_a_free_descriptor_is_dropped(keep: str, tmp_path: Path) -> None:
    """The program never ended, and reading its output raised OSError."""
    script = f"""
# It ends only after all output was read: its end frees a descriptor.
text = "read x; yes a | head -c 40000; yes x | head -c 300000; read y; exit 7"
process = MythSystem.shell(text, stdin=PIPE, keep={keep}).start()
process.pid
held = []
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
process.stdin.write(bytes([10]))
output = process.stdout
while output.written_bytes < 340_000:
    output.wait(output.written_bytes)
process.stdin.write(bytes([10]))
print(process.wait(20))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
data = output.read()
print(output.written_bytes, output.written_bytes - output.dropped_bytes == len(data))
print(data == output.head() + output.tail(), data == b"".join(output))
print(len(data) <= 128 * 1024, set(data[-100:].split()) <= {{b"x"}} or {keep} == (100, 0))
"""
    assert output_of(script).splitlines() == [
        "Exited(code=7)",
        "340000 True",
        "True True",
        "True True",
    ]
