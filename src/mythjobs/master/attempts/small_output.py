"""Small output, which comes with the end of an attempt and is kept in the store."""

from __future__ import annotations

import binascii
from typing import Final

import msgspec

from mythjobs.errors import ProtocolError
from mythjobs.model.output_window import SMALL_OUTPUT_BYTES
from mythjobs.protocol.messages import Ended

_encode: Final = msgspec.json.Encoder().encode


def encode_output_data(message: Ended) -> str:
    """Return the output in an end as the store keeps it, "" if there is none.

    Raises ProtocolError if it is not the kept output.
    """
    if not message.data:
        return ""
    try:
        sizes = [len(binascii.a2b_base64(each, strict_mode=True)) for each in message.data]
    except ValueError as error:
        raise ProtocolError(f"output of job {message.job}: {error}") from None
    kept = [head + tail for _, head, tail in message.output]
    if sizes != kept or sum(sizes) > SMALL_OUTPUT_BYTES:
        raise ProtocolError(f"output of job {message.job}: {sizes} bytes instead of {kept}")
    return _encode(message.data).decode()
