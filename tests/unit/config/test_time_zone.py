"""Time zone of this machine."""

from pathlib import Path

from mythjobs.config.time_zone import find_time_zone


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
