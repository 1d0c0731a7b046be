"""Programs of a host whose own stdin, stdout or stderr is closed, as after it became a daemon.

The kernel gives the lowest free number to a new descriptor: 0, 1 or 2 in such a host.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.integration.process.host_script import run_script

CLOSED = [each for count in (1, 2, 3) for each in itertools.combinations(range(3), count)]


def result_of(script: str, file: Path) -> str:
    """Return what a script, whose stdout may be closed, writes with `tell`."""
    tell = "def tell(*words): open(sys.argv[1], 'a').write(' '.join(map(str, words)) + '\\n')\n"
    done = run_script(tell + script, str(file))
    assert done.returncode == 0, done.stderr
    return file.read_text() if file.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_programs_run_after_streams_were_closed(closed: tuple[int, ...], tmp_path: Path) -> None:
    """The descriptor of the working directory was 0, 1 or 2, and in the child the program's
    streams replaced it."""
    script = f"""
MythSystem(["true"]).run()
os.dup2(os.open("/dev/null", os.O_RDONLY), 99)
for fd in {closed!r}:
    os.close(fd)
keywords = {{"session": False, "umask": 0o22, "contain": True, "pass_fds": [99]}}
for more in {{}}, *[{{each: keywords[each]}} for each in keywords]:
    for cwd in None, "/usr":
        done = MythSystem.shell("cat; pwd >&2", stdin=b"pear", cwd=cwd, **more).run()
        found = done.outcome, done.stdout.read(), done.stderr.text().strip()
        if found != (Exited(0), b"pear", cwd or os.getcwd()):
            tell(more, cwd, found)
"""
    assert result_of(script, tmp_path / "result") == ""


@pytest.mark.slow
@pytest.mark.parametrize("is_first_use", [False, True])
@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_a_program_inherits_no_descriptor_of_the_library(
    closed: tuple[int, ...], is_first_use: bool, tmp_path: Path
) -> None:
    """A program with stdin=INHERIT got the working directory, or the event loop, as its stdin."""
    script = f"""
if not {is_first_use}:
    MythSystem(["true"]).run()
for fd in {closed!r}:
    os.close(fd)
text = 'for fd in 0 1 2; do test -e /proc/$$/fd/$fd || set -- "$@" $fd; done; echo "$@" >"$OUT"'
for more in {{}}, {{"umask": 0o22}}, {{"cwd": "/usr"}}:
    path = sys.argv[1] + ".out"
    done = MythSystem.shell(
        text, stdin=INHERIT, stdout=INHERIT, stderr=INHERIT, env_add={{"OUT": path}}, **more
    ).run()
    tell(done.outcome, open(path).read().strip())
"""
    expected = f"Exited(code=0) {' '.join(map(str, closed))}\n"
    assert result_of(script, tmp_path / "result") == expected * 3


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "umask=0o22", "contain=True", "limits=Limits(processes=9)"])
@pytest.mark.parametrize("is_first_use", [False, True])
def test_streams_may_be_opened_again_at_any_time(
    is_first_use: bool, more: str, tmp_path: Path
) -> None:
    """A host that opened its log as descriptors 1 and 2 closed descriptors that the library uses,
    and then waited forever."""
    script = f"""
if not {is_first_use}:
    MythSystem(["true"]).run()
os.closerange(0, 3)
process = MythSystem.shell(
    "read x; head -c 300000 /dev/zero; exit 7", stdin=PIPE, best_effort=True, {more}
).start()
process.pid
tell(*[fd for fd in range(3) if os.path.exists(f"/proc/self/fd/{{fd}}")])
null = os.open("/dev/null", os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
process.stdin.write(b"x\\n")
tell(process.wait(20), process.stdout.written_bytes, len(process.stdout.read()))
tell(MythSystem(["true"], {more} {", " if more else ""} best_effort=True).run().outcome)
"""
    assert result_of(script, tmp_path / "result").splitlines() == [
        "",
        "Exited(code=7) 300000 300000",
        "Exited(code=0)",
    ]
