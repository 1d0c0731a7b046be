"""Time zone and capabilities that a machine reports."""

from pathlib import Path

from mythjobs.agent.capabilities import capabilities_with, find_time_zone
from mythjobs.process.cgroup import ChildCgroup
from mythjobs.protocol.messages import CAPABILITIES


def test_time_zone_comes_from_environment_then_link_then_file(
    tmp_path: Path,
) -> None:
    link, file = tmp_path / "localtime", tmp_path / "timezone"
    assert find_time_zone({}, link, file) == ""
    file.write_text("Europe/Paris\n")
    assert find_time_zone({}, link, file) == "Europe/Paris"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert find_time_zone({}, link, file) == "Europe/Berlin"
    assert find_time_zone({"TZ": ":America/New_York"}, link, file) == "America/New_York"


def test_unknown_time_zone_is_not_reported(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    link.symlink_to("/etc/zoneinfo/Mars/Olympus")
    assert find_time_zone({"TZ": "CET-1CEST"}, link, tmp_path / "timezone") == ""


class Groups:
    """Cgroups of a kernel that limits only the number of processes."""

    def take(self) -> ChildCgroup:
        raise AssertionError("no cgroup may be created here")

    def enforced_limits(self) -> frozenset[str]:
        return frozenset({"processes"})

    def close(self) -> None: ...


def test_memory_and_processes_need_kernel_enforcement() -> None:
    tree = {"contain", "memory", "processes"}
    assert set(capabilities_with(None)) == CAPABILITIES - tree
    assert set(capabilities_with(Groups())) == CAPABILITIES - {"memory"}
