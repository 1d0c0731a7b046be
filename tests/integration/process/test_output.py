"""Output of real programs: exact, limited, and never delaying the end of an attempt."""

from __future__ import annotations

import os
from pathlib import Path

from mythjobs.model.output_window import SMALL_OUTPUT_BYTES, OutputWindow
from mythjobs.process.reaper.output_file import read_range, stream_path
from tests.integration.process.reaper_agent import Agent, Home, reaper, sh

MIB = 2**20


def test_output_is_stored_byte_for_byte(agent: Agent, shared_home: Home, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 300 + b"\xff\xfe\0 no newline at the end"
    source = tmp_path / "raw"
    source.write_bytes(raw)
    end = agent.run(1, ["cat", str(source)])
    assert end["output"] == [[len(raw), len(raw), 0]]
    assert shared_home.read_output(end) == raw


def test_stderr_shares_the_pipe_or_has_its_own(agent: Agent, shared_home: Home) -> None:
    script = sh("echo one; echo two >&2; echo three")
    end = agent.run(2, script)
    assert shared_home.read_output(end) == b"one\ntwo\nthree\n"
    end = agent.run(3, script, streams=2)
    assert shared_home.read_output(end, 1) == b"one\nthree\n"
    assert shared_home.read_output(end, 2) == b"two\n"
    end = agent.run(4, sh("echo two >&2"), streams=2)
    assert end["output"] == [[0, 0, 0], [4, 4, 0]]


def test_little_output_is_in_the_end_and_in_no_file(agent: Agent, shared_home: Home) -> None:
    end = agent.run(31, sh("printf 'a\\377'; printf b >&2"), streams=2)
    assert (end["output"], end["data"]) == ([[2, 2, 0], [1, 1, 0]], ["Yf8=", "Yg=="])
    limit = SMALL_OUTPUT_BYTES
    assert "data" in agent.run(32, ["head", "-c", str(limit), "/dev/zero"])
    assert not list(shared_home.output.glob("3[12].1.*"))
    # More than that, of all streams together, or than is kept, is in files.
    script = sh(f"head -c {limit} /dev/zero; echo >&2")
    for job, argv, keep in (
        (33, ["head", "-c", str(limit + 1), "/dev/zero"], [10_000, 0]),
        (34, script, [10_000, 0]),
        (35, ["echo", "abc"], [1, 10]),
    ):
        end = agent.run(job, argv, keep=keep, streams=2)
        assert "data" not in end
        written, head, tail = end["output"][0]
        assert len(shared_home.read_output(end)) == head + tail == written


def test_little_output_is_in_a_file_once_it_is_watched(
    agent: Agent, shared_home: Home, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    agent.start(36, sh(f"echo one; cat {gate}; echo two"))
    agent.send({"type": "watch", "job": 36, "n": 1, "on": True})
    while agent.wait_for("grew", 36)["output"] != [[4, 4, 0]]:
        pass
    assert (shared_home.output / "36.1.1").read_bytes() == b"one\n"
    gate.write_bytes(b"")
    end = agent.wait_ended(36)
    assert "data" not in end
    assert shared_home.read_output(end) == b"one\ntwo\n"


def test_no_files_are_created_for_a_job_without_output(agent: Agent, shared_home: Home) -> None:
    agent.run(5, ["true"], streams=2)
    assert not list(shared_home.output.glob("5.1.*"))
    assert not list(shared_home.scratch.glob("5.1*"))
    assert not list(shared_home.runtime.glob("5.1*"))


def test_head_and_tail_are_stored_and_the_middle_is_counted(
    agent: Agent, shared_home: Home
) -> None:
    end = agent.run(6, ["seq", "-w", "0", "999999"], keep=[1000, 5000])
    whole = b"".join(b"%06d\n" % i for i in range(1_000_000))
    assert end["output"] == [[len(whole), 1000, 5000]]
    assert shared_home.read_output(end) == whole[:1000] + whole[-5000:]
    # Reads by stream offset skip the dropped bytes and return the actual offset.
    path = stream_path(shared_home.output, 6, 1, 1)
    kept = OutputWindow(*end["output"][0])
    assert read_range(path, kept, 990, 100) == (990, whole[990:1000])
    assert read_range(path, kept, 1000, 50) == (len(whole) - 5000, whole[-5000:-4950])
    assert read_range(path, kept, len(whole) - 7, 100) == (len(whole) - 7, b"999999\n")
    assert read_range(path, kept, len(whole), 100) == (len(whole), b"")


def test_large_output_stays_within_its_limits(agent: Agent, shared_home: Home) -> None:
    size = 200 * MIB
    end = agent.run(7, sh(f"yes | head -c {size}"), keep=[MIB, MIB])
    assert end["output"] == [[size, MIB, MIB]]
    used = sum(path.stat().st_size for path in shared_home.output.glob("7.1.*"))
    assert used <= 2 * MIB + 4096
    assert memory_of(agent.hello["pid"]) < 40 * MIB


def memory_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_output_can_be_read_while_it_grows(agent: Agent, shared_home: Home) -> None:
    agent.start(8, sh("printf early; read line <&0"), watch=True, stdin=fifo(shared_home, "gate"))
    grew = agent.wait_for("grew", 8)
    kept = OutputWindow(*grew["output"][0])
    path = stream_path(shared_home.output, 8, 1, 1)
    assert read_range(path, kept, 0, 100) == (0, b"early")
    agent.send({"type": "stop", "job": 8, "n": 1, "by": "user"})
    assert agent.wait_ended(8)["outcome"] == {"kind": "stopped", "by": "user"}


def fifo(home: Home, name: str) -> str:
    """Return a FIFO that never reaches end of file during the test."""
    path = home.base / name
    os.mkfifo(path)
    os.open(path, os.O_RDWR)
    return str(path)


def test_output_growth_is_reported_when_watching_begins_later(
    agent: Agent, shared_home: Home
) -> None:
    agent.start(9, sh("printf early; read line"), stdin=fifo(shared_home, "gate9"))
    agent.wait_for("started", 9)
    agent.send({"type": "watch", "job": 9, "n": 1, "on": True})
    agent.wait_for("grew", 9, where=lambda each: each["output"] == [[5, 5, 0]])
    agent.send({"type": "stop", "job": 9, "n": 1, "by": "user"})
    agent.wait_ended(9)


def test_a_reader_is_told_first_of_output_that_was_held_back(
    agent: Agent, shared_home: Home, tmp_path: Path
) -> None:
    # Seen: `log -f -n 4` in the first second of a job showed all lines. The first answer said that
    # nothing was written, because the output was on its way to the file.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = sh(f"printf early; printf err >&2; : >{gate}; read line")
    agent.start(12, script, streams=2, stdin=fifo(shared_home, "gate12"))
    gate.read_bytes()
    agent.wait_for("started", 12)
    for _ in range(2):  # The reaper reads the pipes between the two.
        agent.send({"type": "ping"})
        agent.wait_for("pong")
    agent.send({"type": "watch", "job": 12, "n": 1, "on": True})
    assert agent.wait_for("grew", 12)["output"] == [[5, 5, 0], [3, 3, 0]]
    assert (shared_home.output / "12.1.1").read_bytes() == b"early"
    agent.send({"type": "stop", "job": 12, "n": 1, "by": "user"})
    agent.wait_ended(12)


def test_the_last_output_growth_is_reported_before_the_end(agent: Agent) -> None:
    # The job is too short for its pipes to be watched, so nothing was reported while it ran.
    agent.start(11, ["echo", "100 %"], watch=True)
    end = agent.wait_ended(11)
    assert agent.wait_for("grew", 11)["output"] == end["output"] == [[6, 6, 0]]


def test_a_leftover_process_does_not_delay_the_end(agent: Agent, shared_home: Home) -> None:
    # The leftover holds the pipe, so end of file comes only when it is killed.
    end = agent.run(10, sh("sleep 600 & echo done; exit 3"))
    assert end["outcome"] == {"kind": "exited", "code": 3}
    assert shared_home.read_output(end) == b"done\n"
    assert end["usage"]["wall_s"] < 60


def test_a_full_disk_only_loses_output(home: Home) -> None:
    """The output file is a link to /dev/full, which the reaper does not follow, so open() fails."""
    with reaper(home) as agent:
        home.output.joinpath("1.1.1").symlink_to("/dev/full")
        home.output.joinpath("1.1.1.tail").symlink_to("/dev/full")
        end = agent.run(1, sh("head -c 3000000 /dev/zero; echo end"), keep=[1000, 1000])
        assert end["outcome"] == {"kind": "exited", "code": 0}
        assert end["output"] == [[3_000_004, 0, 0]]
