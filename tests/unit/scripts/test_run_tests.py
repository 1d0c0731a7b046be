"""scripts/run-tests: which failed tests run again, and the exit code. It runs a real pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripts import load_script

# This one passes when it runs for the second time.
UNSTABLE = """
from pathlib import Path

def test_unstable():
    ran = Path(__file__).with_name("ran")
    if not ran.exists():
        ran.touch()
        raise AssertionError("first run")
"""
BROKEN = "def test_broken():\n    assert False\n"
GOOD = "def test_good():\n    pass\n"


def run_tests(root: Path, **files: str) -> int:
    for name, text in files.items():
        (root / f"test_{name}.py").write_text(text)
    code = load_script("run-tests").main(["-q"], root)
    assert isinstance(code, int)
    return code


@pytest.mark.slow
def test_test_that_passes_alone_is_named_and_does_not_fail_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_tests(tmp_path, good=GOOD, unstable=UNSTABLE) == 0
    out = capfd.readouterr().out
    assert "AssertionError: first run" in out
    assert out.endswith("only alone; mend or delete:\n  test_unstable.py::test_unstable\n")


@pytest.mark.slow
def test_test_that_fails_again_fails_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_tests(tmp_path, unstable=UNSTABLE, broken=BROKEN) == 1
    assert "UNSTABLE" not in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, code",
    [("def test_good():", 2), ("".join(f"def test_{n}():\n    assert False\n" for n in "abcd"), 1)],
    ids=["not-collected", "many"],
)
def test_neither_broken_files_nor_many_failures_are_repeated(
    text: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_tests(tmp_path, unstable=UNSTABLE, broken=text) == code
    assert "repeating" not in capfd.readouterr().out
