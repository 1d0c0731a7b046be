import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARENT = """
import subprocess, time
from tests.support.parent_death import bind_to_parent
subprocess.Popen(bind_to_parent("sh", "-c", "echo up; exec sleep 600"))
time.sleep(600)
"""

ORPHAN = """
import subprocess, sys, time
from pathlib import Path
from tests.support.parent_death import terminate_with_parent
with terminate_with_parent(Path(sys.argv[1])):
    # The shell ends, and its child is in a session of its own.
    script = 'setsid sh -c "echo up; exec tail -f \\"$1\\"" sh "$1" &'
    subprocess.run(["sh", "-c", script, "sh", sys.argv[1]])
    time.sleep(600)
"""


def assert_all_end_with_their_parent(*command: str | Path) -> None:
    """Run a program until its child says that it is up, kill it, and wait for the child's end."""
    with subprocess.Popen(
        [sys.executable, "-c", *command], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        # The pipe ends when the last program that writes to it has ended.
        assert select.select([parent.stdout], [], [], 60)[0]
        assert parent.stdout.read() == b""


def test_a_bound_program_ends_when_its_parent_is_killed() -> None:
    assert_all_end_with_their_parent(PARENT)


def test_orphans_end_when_the_test_run_is_killed(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert_all_end_with_their_parent(ORPHAN, tmp_path / "state")
