import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mythjobs.cli.main import run
from tests.integration.cli.scripted import Master, scripted_master


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Show times in UTC, whatever the zone of the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    with scripted_master(root) as found:
        yield found


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(
    master: Master, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Run a command line against the scripted master, in this process."""
    monkeypatch.delenv("MYTHJOBS_URL", raising=False)

    def called(*arguments: str) -> Done:
        code = run(["--state-dir", str(master.root), *arguments])
        return Done(code, *capfd.readouterr())

    return called
