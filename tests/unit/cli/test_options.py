import os

import pytest

from mythjobs.cli.options import decode_argument

TITLE = "$(touch /tmp/pwned); `id` \"' -rf `\n😀 ä"


def test_an_argument_keeps_its_bytes() -> None:
    assert decode_argument(os.fsdecode(TITLE.encode())) == TITLE


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xed\xa0\x80"])
def test_invalid_utf8_is_refused_with_its_position(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not valid UTF-8 \(byte \d is 0x"):
        decode_argument(os.fsdecode(data))
