import pytest

from mythjobs.cli.paths import absolute_path


@pytest.mark.parametrize(
    "path, whole",
    [
        ("a.ts", "/home/ann/a.ts"),
        ("./a//b.ts", "/home/ann/a/b.ts"),
        ("/srv/tv/a.ts", "/srv/tv/a.ts"),
        (".", "/home/ann"),
        ("", ""),
        # `link` may be a symbolic link, so `..` is kept.
        ("link/../a.ts", "/home/ann/link/../a.ts"),
    ],
)
def test_a_path_is_relative_to_the_current_directory(path: str, whole: str) -> None:
    assert absolute_path(path, "/home/ann") == whole
