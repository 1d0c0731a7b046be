"""`mythjobs metrics` against a scripted master."""

from __future__ import annotations

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master, Reply


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
