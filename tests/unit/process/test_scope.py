"""Which processes of systemd need a scope of their own for the reaper."""

from __future__ import annotations

import pytest

from mythjobs.process.reaper.scope import is_in_service


@pytest.mark.parametrize(
    "cgroup, expected",
    [
        ("0::/system.slice/mythjobs.service\n", True),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/mythjobs.service\n", True),
        ("0::/system.slice/mythjobs.service/delegated\n", True),
        ("1:name=systemd:/system.slice/mythjobs.service\n0::/\n", True),
        ("4:memory:/system.slice/other.service\n0::/user.slice/session-3.scope\n", False),
        ("0::/user.slice/user-7.slice/session-3.scope\n", False),
        ("0::/user.slice/user-7.slice/user@7.service/init.scope\n", False),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice\n", False),
        ("0::/system.slice/mythjobs-reaper-1.scope/mythjobs-reaper\n", False),
        ("0::/\n", False),
        ("", False),
    ],
)
def test_a_process_in_a_service_needs_a_scope(cgroup: str, expected: bool) -> None:
    assert is_in_service(cgroup) is expected
