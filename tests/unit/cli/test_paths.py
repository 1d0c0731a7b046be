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
        # What `..` means only the machine knows: `link` may be a symbolic link.
        ("link/../a.ts", "/home/ann/link/../a.ts"),
    ],
)
def test_a_path_is_meant_from_where_the_caller_is(path: str, whole: str) -> None:
    assert absolute_path(path, "/home/ann") == whole
