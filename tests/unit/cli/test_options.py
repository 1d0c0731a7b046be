import os

import pytest

from mythjobs.cli.options import decode_argument

TITLE = "$(touch /tmp/pwned); `id` \"' -rf `\n😀 ä"


def test_a_value_is_the_bytes_that_were_typed() -> None:
    assert decode_argument(os.fsdecode(TITLE.encode())) == TITLE


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_refused_with_their_place(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not valid UTF-8 \(byte \d is 0x"):
        decode_argument(os.fsdecode(data))
