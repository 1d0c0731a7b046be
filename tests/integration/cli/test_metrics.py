"""`mythjobs metrics` against a scripted master."""

from __future__ import annotations

import os

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master, Reply
from tests.support.disks import fill_disk, mount_small_disk


def test_the_token_is_created_once_and_replaced_on_request(call: Call, master: Master) -> None:
    first = call("metrics", "token")
    assert first.code == 0
    assert len(first.out.strip()) == 43
    assert str(master.root / "metrics.token") in first.err
    assert call("metrics", "token").out == first.out
    new = call("metrics", "token", "--new")
    assert new.out != first.out
    assert (master.root / "metrics.token").read_text() == new.out
    assert master.requests == []


def test_show_prints_the_metrics(call: Call, master: Master) -> None:
    master.answers["GET /metrics"] = Reply(200, {}, (b"mythjobs_info 1\n",))
    done = call("metrics", "show")
    assert (done.code, done.out) == (0, "mythjobs_info 1\n")


def test_a_token_that_a_full_disk_refuses_is_named(call: Call, master: Master) -> None:
    """Observed: "cannot write to stdout: No space left on device"."""
    with mount_small_disk(master.root) as disk:
        disk.chmod(0o700)
        fill_disk(disk)
        done = call("--state-dir", str(disk), "metrics", "token")
    assert done == (
        os.EX_CANTCREAT,
        "",
        f"mythjobs: cannot use {disk}/metrics.token: No space left on device; free space on its "
        "disk, then try again\n",
    )
