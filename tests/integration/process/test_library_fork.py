"""Forks of a program that uses MythSystem: they keep nothing open, and have no processes."""

from __future__ import annotations

import pytest

from tests.integration.process.host_script import output_of

HELPERS = """
def fork(work):
    'Run work() in a fork, which ends with the code that it returns; return its pid.'
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid

def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def pipes():
    'The pipes that this process has open.'
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return sorted(each for each in found if each.startswith("pipe"))
"""


def test_a_fork_keeps_no_end_of_a_pipe() -> None:
    script = """
import mythjobs.process.library.thread as thread
before = pipes()
pool, released = thread.supervisor_thread()._pool, threading.Event()
for _ in range(8):
    pool.submit(lambda spawn: released.wait())
ours, theirs = os.pipe()
started = [
    MythSystem(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start(),
    MythSystem(["cat"], stdin=b"x" * 1_000_000).start(),
    MythSystem(["true"], stdout=theirs, contain=True).start(),
]
os.close(theirs)
def work():
    # The host has its own end of the pipe that it has made.
    os.close(ours)
    return int(pipes() != before)
assert code_of(fork(work)) == 0
released.set()
assert started[0].communicate(b"text") == (b"text", b"")
assert started[1].done().stdout.read() == b"x" * 1_000_000
assert started[2].wait() == Exited(0)
assert code_of(fork(work)) == 0
"""
    output_of(HELPERS + script)


def test_a_fork_does_not_keep_an_open_pipe_from_its_end() -> None:
    script = """
process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
reader, writer = os.pipe()
pid = fork(lambda: os.close(writer) or len(os.read(reader, 1)))
process.stdin.close()
assert process.stdout.read() == b""
assert process.wait() == Exited(0)
os.close(writer)
assert code_of(pid) == 0
"""
    output_of(HELPERS + script)


@pytest.mark.parametrize(
    "leave, code",
    [("sys.exit(3)", 3), ("return_", 0), ("raise KeyError('x')", 1), ("process = None", 0)],
)
def test_a_fork_leaves_a_with_block(leave: str, code: int) -> None:
    script = f"""
with MythSystem(["cat"], stdin=PIPE).start() as process:
    return_ = None
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        # Exceptions of the fork are expected here.
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        {leave}
    else:
        assert code_of(pid) == {code}
        assert process.outcome is None
        assert process.stdin.write(b"still there")
if pid != 0:
    assert process.done().stdout.read() == b"still there"
"""
    output_of(HELPERS + script)


def test_methods_raise_in_a_fork() -> None:
    script = """
process = MythSystem(["cat"], stdin=PIPE).start()
def work():
    methods = [
        process.wait, process.done, process.kill, process.terminate, process.stop, process.pids,
        process.pause, process.resume, process.communicate, lambda: process.signal(15),
        lambda: process.limit(Limits()), lambda: process.outcome, lambda: process.pid,
    ]
    for method in methods:
        try:
            method()
        except ValueError as error:
            assert "fork" in str(error)
        else:
            return 1
    repr(process)
    assert process.stdin.write(b"x") is False
    assert process.stdout.read() == b"" and list(process.stdout) == []
    process.stdin.close()
    return 0
assert code_of(fork(work)) == 0
assert process.stdin.write(b"text")
process.stdin.close()
assert process.done().stdout.read() == b"text"
"""
    output_of(HELPERS + script)


def test_a_fork_of_a_fork_runs_programs() -> None:
    script = """
assert MythSystem(["true"]).run().ok
def inner():
    return 0 if MythSystem(["echo", "inner"]).run().stdout.read() == b"inner\\n" else 1
def outer():
    process = MythSystem(["cat"], stdin=PIPE).start()
    code = code_of(fork(inner))
    return code or process.kill() != Stopped("user")
assert code_of(fork(outer)) == 0
"""
    output_of(HELPERS + script)


def test_a_fork_that_python_does_not_know_of_runs_programs() -> None:
    script = """
import ctypes
assert MythSystem(["true"]).run().ok
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    os._exit(0 if MythSystem(["true"]).run().ok else 1)
assert code_of(pid) == 0
"""
    output_of(HELPERS + script)


@pytest.mark.slow
def test_forks_and_starts_of_many_threads() -> None:
    script = """
stop = threading.Event()
def run_programs(**more):
    while not stop.is_set():
        done = MythSystem(["cat"], stdin=b"text", **more).run()
        assert done.outcome == Exited(0), done.outcome
        # End of file after 2 s only would mean that a fork holds the pipe.
        assert done.stdout.read() == b"text" and done.usage.wall_s < 1.5, done.usage
failures = []
threading.excepthook = failures.append
threads = [threading.Thread(target=run_programs, kwargs=more) for more in ({}, {}, {"nice": 1})]
for thread in threads:
    thread.start()
reader, writer = os.pipe()
base = pipes()
def work():
    leaked = set(pipes()) - set(base)
    os.read(reader, 1)
    return len(leaked)
pids = []
for _ in range(40):
    pids.append(fork(work))
    time.sleep(0.005)
stop.set()
for thread in threads:
    thread.join()
os.write(writer, b"x" * len(pids))
assert [code_of(pid) for pid in pids] == [0] * len(pids)
assert not failures, failures
"""
    output_of(HELPERS + script)


@pytest.mark.slow
def test_a_fork_may_close_all_descriptors() -> None:
    """In a daemon, the library closed a file of the host when no descriptor was free: the file had
    the number of the reserve that the parent had opened."""
    script = f"""{HELPERS}
def work():
    os.closerange(3, 900)
    files = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(40)]
    for more in {{}}, {{"umask": 0o22}}, {{"contain": True}}:
        assert MythSystem(["true"], **more).run().outcome == Exited(0)
    process = MythSystem.shell("sleep 600 & sleep 600").start()
    process.pid
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
    process.pids()
    process.kill()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return sum(os.readlink(f"/proc/self/fd/{{fd}}") != "/etc/passwd" for fd in files)
MythSystem(["true"], umask=0o22, contain=True).run()
print(code_of(fork(work)))
"""
    assert output_of(script) == "0\n"
