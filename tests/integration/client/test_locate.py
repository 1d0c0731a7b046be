import json
import os
from pathlib import Path

import pytest

from mythjobs.client import locate
from mythjobs.config import locks
from mythjobs.config.state import default_path


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/home/ann"},
        {"HOME": "/home/ann", "XDG_STATE_HOME": "/x/state"},
        {"HOME": "/home/ann", "XDG_STATE_HOME": "relative"},
        {"HOME": "/home/ann", "XDG_STATE_HOME": "/x", "MYTHJOBS_STATE_DIR": "here"},
        {},
    ],
)
def test_client_and_master_agree_on_the_state_directory(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    assert locate.default_root(environ) == os.fspath(default_path(environ))


def test_the_socket_is_where_the_master_says(tmp_path: Path) -> None:
    said = tmp_path / "master.json"
    said.write_text(json.dumps({"socket": "/run/mythjobs/master.sock"}))
    assert locate.of_state_directory(str(tmp_path)).socket == "/run/mythjobs/master.sock"
    for broken in ("", "[]", "{}", '{"socket": 3}'):
        said.write_text(broken)
        assert locate.of_state_directory(str(tmp_path)).socket == f"{tmp_path}/master.sock"


def test_a_master_that_holds_its_lock_runs_though_nobody_answers(tmp_path: Path) -> None:
    lock = tmp_path / "master.lock"
    with locks.hold(lock, "a master"):
        assert f"a master (pid {os.getpid()})" in locate.nothing_runs(str(tmp_path)).sentence
    # What it wrote into its lock stays when it ends.
    assert lock.read_bytes()
    assert "start it with `mythjobs up`" in locate.nothing_runs(str(tmp_path)).sentence
