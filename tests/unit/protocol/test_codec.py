"""Frames of the link."""

from __future__ import annotations

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m


def test_a_large_frame_goes_in_pieces_that_are_read() -> None:
    run = m.Run(["/bin/true", "x" * 2**20])
    grants: list[m.MasterMessage] = [m.Grant(n, 1, n, 1, 0, run) for n in range(1, 41)]
    pieces = list(codec.master_frames(m.MasterFrame(7, grants)))
    assert max(map(len, pieces)) < m.MOST_FRAME_BYTES
    frames = [codec.master_frame(each) for each in pieces]
    assert [each.ack for each in frames] == [0] * (len(frames) - 1) + [7]
    assert [message for frame in frames for message in frame.messages] == grants


def test_a_small_frame_is_one() -> None:
    frame = m.MasterFrame(3, [m.Renew(1), m.Settings(2)])
    [data] = codec.master_frames(frame)
    assert codec.master_frame(data) == frame
