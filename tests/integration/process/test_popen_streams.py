"""Cases of CPython's test_subprocess about streams and descriptors, told for MythSystem."""

from __future__ import annotations

import itertools
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from mythjobs.process import INHERIT, MERGED, NULL, PIPE, Exited, MythSystem, NotStarted
from tests.integration.process.host_script import output_of, run_script

PYTHON = sys.executable
WRITE_BOTH = "import sys; sys.stdout.write('apple'); sys.stderr.write('orange')"


def python(code: str, **more: Any) -> MythSystem:
    return MythSystem([PYTHON, "-S", "-c", code], **more)


@pytest.mark.parametrize("kind", ["pipe", "fileno", "file", "path", "bytes"])
def test_stdin(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"pear")
    code = "import sys; sys.exit(sys.stdin.read() == 'pear')"
    if kind == "pipe":
        process = python(code, stdin=PIPE).start()
        process.stdin.write(b"pear")
        process.stdin.close()
        assert process.wait() == Exited(1)
        return
    with (tmp_path / "in").open("rb") as file:
        given: Any = {"fileno": file.fileno(), "file": file, "path": tmp_path / "in"}
        assert python(code, stdin=given.get(kind, b"pear")).run().outcome == Exited(1)


def test_stdin_none_is_empty() -> None:
    assert python("import sys; sys.exit(len(sys.stdin.read()))").run().outcome == Exited(0)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["buffer", "pipe", "fileno", "file", "path"])
def test_stdout_and_stderr(kind: str, number: int, tmp_path: Path) -> None:
    name = {1: "stdout", 2: "stderr"}[number]
    code = f"import os; os.write({number}, b'orange')"
    if kind == "buffer":
        done = python(code).run()
        assert getattr(done, name).read() == b"orange"
    elif kind == "pipe":
        process = python(code, **{name: PIPE}).start()
        assert getattr(process, name).read() == b"orange"
        assert process.wait() == Exited(0)
    else:
        with (tmp_path / "out").open("wb") as file:
            given: Any = {"fileno": file.fileno(), "file": file, "path": tmp_path / "out"}[kind]
            assert python(code, **{name: given}).run().outcome == Exited(0)
        assert (tmp_path / "out").read_bytes() == b"orange"


def test_output_to_one_file_follows_the_offset_of_the_caller() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"before ")
        file.flush()
        assert python(WRITE_BOTH, stdout=file, stderr=file).run().outcome == Exited(0)
        file.seek(0)
        assert sorted(file.read()) == sorted(b"before appleorange")


def test_stderr_into_stdout() -> None:
    code = "import os; os.write(1, b'apple'); os.write(2, b'orange')"
    assert python(code, stderr=MERGED).run().stdout.read() == b"appleorange"
    with python(code, stdout=PIPE, stderr=MERGED).start() as process:
        assert process.stdout.read() == b"appleorange"


def test_stderr_into_an_inherited_or_discarded_stdout() -> None:
    script = f"""
MythSystem([sys.executable, "-c", {WRITE_BOTH!r}], stdout=INHERIT, stderr=MERGED).run().check()
MythSystem([sys.executable, "-c", {WRITE_BOTH!r}], stdout=NULL, stderr=MERGED).run().check()
MythSystem([sys.executable, "-c", {WRITE_BOTH!r}], stdout=1, stderr=2).run().check()
"""
    done = run_script(script)
    assert (done.returncode, sorted(done.stdout), done.stderr) == (
        0,
        sorted("appleorangeapple"),
        "orange",
    )


def test_one_descriptor_for_all_streams(tmp_path: Path) -> None:
    with (tmp_path / "inout").open("w+b") as file:
        text = "echo out; echo err >&2; read x"
        assert MythSystem.shell(text, stdin=file, stdout=file, stderr=file).run().outcome
        file.seek(0)
        assert file.read() == b"out\nerr\n"


def test_null_is_a_device() -> None:
    code = (
        "import os, stat, sys\n"
        "sys.exit(sum(stat.S_ISCHR(os.fstat(fd).st_mode) for fd in (0, 1, 2)))"
    )
    done = python(code, stdin=NULL, stdout=NULL, stderr=NULL).run()
    assert done.outcome == Exited(3)
    assert python("print(1)", stdout=NULL).run().outcome == Exited(0)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_standard_streams_may_be_closed_here(closed: tuple[int, ...], tmp_path: Path) -> None:
    script = f"""
result = []
for fd in {closed!r}:
    os.close(fd)
code = "import sys; sys.stdout.write('apple'); sys.stderr.write('orange')"
code += "; sys.stdout.write(sys.stdin.read())"
for more in {{"stdin": b"pear"}}, {{"stdin": b"pear", "contain": True}}:
    done = MythSystem([sys.executable, "-S", "-c", code], **more).run()
    result.append((done.outcome, done.stdout.read(), done.stderr.read()))
process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start()
result.append((process.communicate(b"pear"), process.outcome))
result.append(MythSystem(["true"], stdin=INHERIT, stdout=INHERIT, stderr=INHERIT).run().outcome)
open(sys.argv[1], "w").write("\\n".join(map(str, result)))
"""
    run_script(script, str(tmp_path / "result"))
    assert (tmp_path / "result").read_text().splitlines() == [
        *["(Exited(code=0), b'applepear', b'orange')"] * 2,
        "(Output(stdout=b'pear', stderr=b''), Exited(code=0))",
        "Exited(code=0)",
    ]


@pytest.mark.slow
def test_standard_descriptors_in_any_order(tmp_path: Path) -> None:
    """Descriptors 0, 1 and 2 of the caller become other streams of the program."""
    script = """
import itertools, tempfile
saved = os.dup(2)
for order in itertools.permutations(range(3)):
    files = [tempfile.TemporaryFile() for _ in range(3)]
    for fd, file in enumerate(files):
        os.dup2(file.fileno(), fd)
    os.write(order[0], b"STDIN")
    os.lseek(order[0], 0, 0)
    text = 'read line; printf "got %s" "$line"; printf "err" >&2'
    outcome = MythSystem.shell(
        text, stdin=order[0], stdout=order[1], stderr=order[2]
    ).run().outcome
    for fd in order:
        os.lseek(fd, 0, 0)
    found = [os.read(fd, 100) for fd in order[1:]]
    if (outcome, found) != (Exited(0), [b"got STDIN", b"err"]):
        os.write(saved, repr((order, outcome, found)).encode())
"""
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_given_descriptors_are_inherited() -> None:
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    for fd in fds:
        os.set_inheritable(fd, True)
    high = os.dup2(fds[0], 700, inheritable=True)
    text = "ls /proc/$$/fd"
    for count in 0, 1, 5:
        done = MythSystem.shell(text, pass_fds=[*fds[:count], high][: count + 1 if count else 0])
        wanted = {0, 1, 2, *fds[:count], *([high] if count else [])}
        assert set(map(int, done.run().stdout.text().split())) == wanted
    for fd in [*fds, high]:
        os.close(fd)


def test_programs_do_not_inherit_pipes_of_others() -> None:
    first = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
    second = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
    first.stdin.close()
    # Hangs if the second program has the writing end as well.
    assert first.stdout.read() == b""
    assert first.wait() == Exited(0)
    second.stdin.close()
    assert second.wait() == Exited(0)


def test_undecodable_text_passes(tmp_path: Path) -> None:
    name = b"\xff\xfe"
    done = MythSystem.shell('printf %s "$1"; printf %s "$NAME"', name, env={b"NAME": name}).run()
    assert done.stdout.read() == name * 2
    surrogates = os.fsdecode(name)
    done = MythSystem.shell('printf %s "$1"', surrogates, env_add={"NAME": surrogates}).run()
    assert done.stdout.read() == name
    program = os.path.join(os.fsencode(tmp_path), name)
    os.symlink("/bin/echo", program)
    assert MythSystem([program, "x"], cwd=os.fsencode(tmp_path)).run().stdout.read() == b"x\n"


@pytest.mark.slow
def test_many_starts_leave_nothing_open() -> None:
    script = """
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (200, soft))
for system in (
    MythSystem(["true"], stdin=PIPE, stdout=PIPE, stderr=PIPE),
    MythSystem(["/none"], stdin=PIPE, stdout=PIPE, stderr=PIPE),
    MythSystem(["true"], cwd="/none", stdin=PIPE),
    MythSystem(["true"], stdin=b"x"),
):
    for _ in range(250):
        process = system.start()
        outcome = process.wait()
        assert getattr(outcome, "errno", 2) == 2, outcome
"""
    output_of(script)


def test_a_dropped_process_with_pipes_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        MythSystem(["true"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start().wait()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_leaving_the_block_closes_the_pipes() -> None:
    with MythSystem(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start() as process:
        pass
    ends = (process.stdin, process.stdout, process.stderr)
    assert [each.fileno() for each in ends] == [-1] * 3  # type: ignore[union-attr]
    assert process.outcome == Exited(0)


def test_leaving_the_block_after_a_broken_pipe() -> None:
    with MythSystem(["true"], stdin=PIPE).start() as process:
        process.wait()
        assert process.stdin.write(b"x" * 100_000) is False
    assert process.outcome == Exited(0)


@pytest.mark.parametrize("more", [{}, {"stdin": PIPE}, {"stdout": PIPE, "stderr": MERGED}])
def test_streams_are_what_was_asked_for(more: dict[str, Any]) -> None:
    process = MythSystem(["/none"], **more).start()
    assert isinstance(process.wait(), NotStarted)
    process = MythSystem(["true"], **more).start()
    if "stdin" in more:
        assert stat.S_ISFIFO(os.fstat(process.stdin.fileno()).st_mode)
    else:
        with pytest.raises(ValueError, match="not a PIPE"):
            _ = process.stdin
    if "stderr" in more:
        with pytest.raises(ValueError, match="neither PIPE nor BUFFERED"):
            _ = process.stderr
    process.kill()


def test_every_mix_of_destinations() -> None:
    kinds = [NULL, PIPE, INHERIT, os.devnull, None]
    for stdin, stdout, stderr in itertools.product(kinds, repeat=3):
        more = {"stdin": stdin, "stdout": stdout or NULL, "stderr": stderr or MERGED}
        with MythSystem(["true"], **more).start() as process:  # type: ignore[arg-type]
            assert process.wait() == Exited(0)
