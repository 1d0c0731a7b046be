"""The first recording of the recorded installation."""

from __future__ import annotations

from mythjobs.mythtv.recording import RECORDED, Recording, parse_time


def ms(text: str) -> int:
    return parse_time(text) or 0


RECORDING = Recording(
    recordedid=1,
    chanid=1001,
    start_ms=ms("2026-07-15T18:13:00Z"),
    end_ms=ms("2026-07-15T18:13:40Z"),
    program_start_ms=ms("2026-07-15T18:15:00Z"),
    program_end_ms=ms("2026-07-15T18:45:00Z"),
    title="Große Reise",
    subtitle="Über die Alpen",
    description='Eine "Dokumentation" in drei Teilen.',
    category="Doku",
    season=2,
    episode=7,
    total_episodes=10,
    syndicated_episode="S02E07",
    part_number=2,
    part_total=3,
    inetref="ttvdb.py_12345",
    series_id="EP01",
    program_id="",
    original_airdate="2019-03-01",
    year=2019,
    status=RECORDED,
    size_bytes=4182812,
    basename="1001_20260715181300.ts",
    hostname="mythbox",
    storage_group="Default",
    recording_group="Default",
    play_group="Default",
    recording_rule=0,
    recording_type=0,
    profile="Default",
    input_name="",
    channel_number="1",
    callsign="ERSTES",
    channel_name="Das Erste Test",
    is_commercial_free=False,
)
