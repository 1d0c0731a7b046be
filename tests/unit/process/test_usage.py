"""Usage of a child with a cgroup."""

from __future__ import annotations

from mythjobs.model.limits import Usage
from mythjobs.process.supervise.usage import merge_cgroup


def test_the_cgroup_counts_processes_that_nobody_waited_for() -> None:
    merged = merge_cgroup(
        Usage(user_s=0.3, system_s=0.2, peak_bytes=9, switches=7, exact=False),
        Usage(user_s=0.25, system_s=0.5, peak_bytes=4),
    )
    assert merged == Usage(user_s=0.25, system_s=0.5, peak_bytes=9, switches=7)


def test_a_cgroup_that_lags_behind_loses_no_cpu_time() -> None:
    # Seen on a busy machine: 1.4 ms in the cgroup of a program that had used 3 ms.
    merged = merge_cgroup(Usage(user_s=0.003), Usage(system_s=0.0014, peak_bytes=4))
    assert merged == Usage(user_s=0.003, peak_bytes=4)
