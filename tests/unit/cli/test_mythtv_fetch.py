from __future__ import annotations

import pytest

from mythjobs.cli.commands.mythtv_fetch import choose_name


@pytest.mark.parametrize("name", ["1001_20260715181300.ts", "film.MKV", "two words.mpg"])
def test_a_copy_has_the_name_of_the_recording_s_file(name: str) -> None:
    assert choose_name(name, 7) == name
    assert choose_name(f"../../{name}", 7) == name


@pytest.mark.parametrize(
    "name", [".profile", ".hidden.ts", "..", "Makefile", "-o.ts", "a\x1b[2J.ts", "a\0.ts", "", "x/"]
)
def test_the_backend_chooses_no_name_but_that_of_a_video(name: str) -> None:
    assert choose_name(name, 7) == "7.ts"
