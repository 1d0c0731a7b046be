"""Path maps: where a machine has the files that others have under another path."""

from __future__ import annotations

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.path_map import is_below, read_paths, translate_path

MAP = {"/srv/tv": "/mnt/nas/tv", "/srv/tv/live": "/live", "/old": "/"}


@pytest.mark.parametrize(
    "path,here",
    [
        ("/srv/tv/a.ts", "/mnt/nas/tv/a.ts"),
        ("/srv/tv", "/mnt/nas/tv"),
        ("/srv/tv/live/b.ts", "/live/b.ts"),  # the longest path counts
        ("/srv/tvx/a.ts", "/srv/tvx/a.ts"),  # whole components only
        ("/srv", "/srv"),
        ("/old/x", "/x"),
        ("/old", "/"),
    ],
)
def test_the_longest_prefix_of_whole_components_is_replaced(path: str, here: str) -> None:
    assert translate_path(path, MAP) == here


def test_a_map_of_the_root_moves_everything() -> None:
    assert translate_path("/a/b", {"/": "/mnt"}) == "/mnt/a/b"
    assert is_below("/a", "/")


def test_slashes_at_the_end_mean_nothing() -> None:
    assert read_paths({"/srv/tv/": "/mnt//tv/"}) == {"/srv/tv": "/mnt/tv"}


@pytest.mark.parametrize(
    "value",
    [[], {"srv": "/x"}, {"/srv": "x"}, {"/a/../b": "/x"}, {"/a": 1}, {"/a": "/x", "/a/": "/y"}],
)
def test_what_is_no_map_of_absolute_paths_is_refused(value: object) -> None:
    with pytest.raises(DefinitionError):
        read_paths(value)
