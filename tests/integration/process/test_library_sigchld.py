"""MythSystem in programs that take the exit statuses of all their children.

Such a program ignores SIGCHLD (then the kernel reaps), or reaps all children in a handler or
thread. Its children's ends are told nevertheless, as Lost if the status is gone.
"""

from __future__ import annotations

import platform

import pytest

from tests.integration.process.host_script import output_of

IGNORE = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
HANDLER = """
def reap_all(number, frame):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap_all)
"""
# waitpid(-1) of another thread takes the child at the moment of its death.
THREAD = """
def reap_all():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=reap_all, daemon=True).start()
"""
HOSTS = pytest.mark.parametrize(
    "host", [IGNORE, HANDLER, THREAD], ids=["ignore", "handler", "thread"]
)


def kernel_tells_exit_codes() -> bool:
    """Return whether PIDFD_GET_INFO reports the exit of a reaped process (Linux 6.15)."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int(minor)) >= (6, 15)


@pytest.mark.slow
@HOSTS
def test_every_end_is_told(host: str) -> None:
    script = """
for more in [{}] * 30 + [{"contain": True}] * 5:
    done = MythSystem.shell("echo text; exit 3", **more).run()
    assert done.stdout.read() == b"text\\n"
    if done.outcome != Exited(3):
        assert isinstance(done.outcome, Lost), done.outcome
        assert "another part of this program" in done.outcome.why
    assert done.exit_code in (3, None), done.exit_code
"""
    output_of(host + script)


def test_an_end_without_status_is_lost_and_fails_the_check() -> None:
    # The program ends when its start was observed.
    script = """
process = MythSystem(["cat"], stdin=PIPE).start()
assert process.pid
process.stdin.close()
done = process.done()
assert isinstance(done.outcome, Lost), done.outcome
print(done.exit_code)
assert not done.ok
try:
    done.check()
except ProgramFailed as error:
    print(error)
"""
    code, text = output_of(IGNORE + script).splitlines()
    assert text.startswith("cat: lost: another part of this program took its exit status")
    if kernel_tells_exit_codes():
        assert code == "0"
        assert "the kernel reports exit code 0" in text


def test_a_lost_death_by_signal_is_described() -> None:
    script = """
process = MythSystem.shell("read x; kill -9 $$", stdin=PIPE).start()
assert process.pid
process.stdin.close()
print(process.wait().why)
"""
    text = output_of(IGNORE + script)
    if kernel_tells_exit_codes():
        assert "the kernel reports signal 9" in text


@pytest.mark.slow
@HOSTS
def test_programs_that_cannot_start_are_told(host: str) -> None:
    script = """
for more in {}, {"nice": 1}, {"cwd": "/none"}:
    outcome = MythSystem(["/none"], **more).run().outcome
    assert isinstance(outcome, NotStarted) and outcome.errno == 2, outcome
"""
    output_of(host + script)


@pytest.mark.slow
@HOSTS
def test_what_we_end_has_the_reason_as_outcome(host: str) -> None:
    script = """
assert MythSystem(["sleep", "60"]).start().kill() == Stopped("user")
assert MythSystem(["sleep", "60"]).start().terminate() == Stopped("user")
limits = Limits(wall_s=0.05)
assert MythSystem(["sleep", "60"], limits=limits).run().outcome == Breached("wall")
"""
    output_of(host + script)


@pytest.mark.slow
@HOSTS
def test_descendants_are_ended_and_methods_do_not_raise(host: str) -> None:
    script = """
ours, theirs = os.pipe()
text = "setsid sleep 600 & sleep 600 & exit 0"
process = MythSystem.shell(text, stdout=theirs, stderr=theirs).start()
os.close(theirs)
process.wait()
assert open(ours, "rb").read() == b""
assert process.signal(15) == 0 and process.pids() == () and process.usage().wall_s >= 0
process.stop()
"""
    output_of(host + script)
