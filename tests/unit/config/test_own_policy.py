"""The file with the machine's own policy: missing, unreadable, and writable for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mythjobs.config.own_policy import check_user, read_own_policy
from mythjobs.errors import ConfigError
from mythjobs.model.own_policy import OwnPolicy


def test_without_a_file_nothing_is_limited(tmp_path: Path) -> None:
    assert read_own_policy(tmp_path / "policy.toml") == OwnPolicy()


def test_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("jobs = 1\n")
    path.chmod(0o644)
    assert read_own_policy(path) == OwnPolicy(jobs=1)


@pytest.mark.parametrize("text", ["jobs =", 'jobs = "two"', "colour = 1", "\xff"])
def test_an_invalid_file_is_named_and_never_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"policy\.toml"):
        read_own_policy(path)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("jobs = 1\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="other users can write"):
        read_own_policy(path)


def test_an_agent_of_another_user_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    check_user(OwnPolicy(), path, "root")
    check_user(OwnPolicy(users=("mythtv", "root")), path, "root")
    with pytest.raises(ConfigError, match="as mythtv only, and this agent runs as root"):
        check_user(OwnPolicy(users=("mythtv",)), path, "root")


def test_a_policy_that_no_hello_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    names = ", ".join(f'"command-{number}"' for number in range(1000))
    path.write_text(f"allow = [{names}]\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="more than 8 KiB"):
        read_own_policy(path)
