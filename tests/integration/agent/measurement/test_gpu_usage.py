"""Use of GPUs, read from descriptors. No GPU is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.agent.measurement import job_usage
from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.gpu_usage import GpuUsage, has_gpu, parse_engines, read_gpu_usage

I915 = """pos:\t0
flags:\t02100002
drm-driver:\ti915
drm-client-id:\t{client}
drm-pdev:\t0000:00:02.0
drm-engine-render:\t1000000000 ns
drm-engine-video:\t{video} ns
drm-engine-capacity-video:\t2
"""


def test_the_time_of_an_engine_is_a_share_of_all_of_its_kind() -> None:
    found = parse_engines(I915.format(client=7, video=4_000_000_000))
    assert found == {"render": 1.0, "video": 2.0}
    assert parse_engines("pos:\t0\n") == {}


def make_descriptor(proc: Path, pid: int, number: int, device: int, text: str) -> None:
    for name in ("fd", "fdinfo"):
        (proc / str(pid) / name).mkdir(parents=True, exist_ok=True)
    os.mknod(proc / str(pid) / "fd" / str(number), 0o020600, device)
    (proc / str(pid) / "fdinfo" / str(number)).write_text(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node needs root")
def test_each_client_counts_once_and_the_busiest_engine_counts(tmp_path: Path) -> None:
    card = os.makedev(226, 128)
    for pid, number, client, video in ((1, 3, 7, 8), (1, 4, 7, 8), (2, 3, 7, 8), (2, 5, 9, 2)):
        text = I915.format(client=client, video=video * 1_000_000_000)
        make_descriptor(tmp_path, pid, number, card, text)
    make_descriptor(tmp_path, 1, 9, os.makedev(1, 3), "")
    assert read_gpu_usage([1, 2, 3], tmp_path) == GpuUsage(5.0, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node needs root")
def test_an_open_gpu_without_times_is_a_session(tmp_path: Path) -> None:
    make_descriptor(tmp_path, 1, 3, os.makedev(195, 255), "")  # /dev/nvidiactl
    assert read_gpu_usage([1], tmp_path) == GpuUsage(0.0, False)
    make_descriptor(tmp_path, 1, 4, os.makedev(195, 0), "")
    assert read_gpu_usage([1], tmp_path) == GpuUsage(0.0, True)


def test_an_open_gpu_is_busy_from_the_first_reading_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_usage, "has_gpu", lambda: True)
    monkeypatch.setattr(job_usage, "read_gpu_usage", lambda _: GpuUsage(0.0, True))
    reader = job_usage.JobUsageReader(DiskMap(), str(tmp_path))
    key = (1, 1)
    assert reader.read({key: os.getpid()})[key].gpu_s == 0
    assert 0 < reader.read({key: os.getpid()})[key].gpu_s < 60


def test_this_process_uses_no_gpu() -> None:
    assert read_gpu_usage([os.getpid()]) == GpuUsage(0.0, False)


def test_a_machine_has_a_gpu_if_it_has_a_device_of_one(tmp_path: Path) -> None:
    devices = [f"{tmp_path}/render*", f"{tmp_path}/nvidia[0-9]*"]
    (tmp_path / "nvidiactl").touch()
    assert not has_gpu(devices)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(devices)
