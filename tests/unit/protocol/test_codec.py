"""Encoding of the link's frames."""

from __future__ import annotations

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec


def test_a_large_frame_is_split_into_readable_frames() -> None:
    run = RunSpec(["/bin/true", "x" * 2**20])
    grants: list[m.MasterMessage] = [m.Grant(n, 1, n, 1, 0, run) for n in range(1, 41)]
    parts = list(codec.encode_master_frames(m.MasterFrame(7, grants)))
    assert max(map(len, parts)) < m.MAX_FRAME_BYTES
    frames = [codec.decode_master_frame(each) for each in parts]
    assert [each.ack for each in frames] == [0] * (len(frames) - 1) + [7]
    assert [message for frame in frames for message in frame.messages] == grants


def test_a_small_frame_is_not_split() -> None:
    frame = m.MasterFrame(3, [m.Renew(1), m.Settings(2)])
    [data] = codec.encode_master_frames(frame)
    assert codec.decode_master_frame(data) == frame
