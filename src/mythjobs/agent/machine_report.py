"""What the agent reports about its machine: what it can do, its room for jobs, its load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.load_meter import LoadMeter
from mythjobs.agent.scaler import Scaler
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import MachineDescription


class MachineReport:
    """Adds to the frames of the core what has changed since the last one."""

    def __init__(self, core: AgentCore, scaler: Scaler | None, output_directory: Path) -> None:
        self._core = core
        self._scaler = scaler
        # A scaler measures the load by itself.
        self._meter = LoadMeter(output_directory) if scaler is None else None
        self._description: MachineDescription | None = None
        self._is_description_due = False

    def close(self) -> None:
        """Close the files of the measurement, and save what the scaler has learned."""
        for each in (self._scaler, self._meter):
            if each is not None:
                each.close()

    def measure_load(self, reaper_pids: Sequence[int], now: Now) -> None:
        """Measure the load for the heartbeat that is due. With a scaler, only while no job runs:
        otherwise it measures every second, and its freezes and thaws must be carried out."""
        if self._meter is not None:
            self._meter.measure(reaper_pids, now)
        elif self._scaler is not None and not self._core.running_count:
            self._scaler.step(reaper_pids, now)

    def set_description(self, found: MachineDescription) -> None:
        self._description, self._is_description_due = found, True

    def reset_connection(self) -> None:
        """Prepare for a new connection: the master knows nothing yet."""
        self._is_description_due = self._description is not None

    def next_frame(self, now: Now) -> m.AgentFrame | None:
        """Return the next frame for the master, or None; see AgentCore.next_frame()."""
        scaler = self._scaler
        headroom = scaler.find_headroom(self._core.table.refused, now) if scaler else None
        is_due = headroom is not None or bool(scaler and scaler.has_unsent)
        frame = self._core.next_frame(now, is_due=is_due)
        if frame is None:
            return None
        has_heartbeat = bool(frame.messages) and isinstance(frame.messages[0], m.Heartbeat)
        if self._is_description_due and has_heartbeat:
            self._is_description_due = False
            frame = msgspec.structs.replace(frame, description=self._description)
        if scaler is None:
            load = self._meter.load if self._meter is not None and has_heartbeat else None
            return frame if load is None else msgspec.structs.replace(frame, load=load)
        scaler.mark_sent(headroom)
        if not is_due and not has_heartbeat:
            return frame
        return msgspec.structs.replace(
            frame,
            room=min(frame.room, scaler.room),
            # Repeated with each heartbeat: a master that missed it would grant nothing any more.
            headroom=scaler.sent_headroom if has_heartbeat else headroom,
            load=scaler.load if has_heartbeat else None,
            footprints=scaler.take_footprints(),
        )
