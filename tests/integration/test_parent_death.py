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


def test_a_bound_program_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        # The pipe ends when the last program that writes to it has ended.
        assert select.select([parent.stdout], [], [], 60)[0]
        assert parent.stdout.read() == b""
