"""Encryption of secrets in the store with a key file, so that copies of the store reveal none."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

from mythjobs.config import files
from mythjobs.errors import ConfigError

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class Seal:
    """Encrypts and decrypts texts. The key file is created, readable for its owner only, when the
    first text is encrypted."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def encrypt(self, text: str) -> str:
        """Raises OSError if the key file cannot be read or created."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        key = files.create_once(self._key_file, os.urandom(_KEY_BYTES))
        nonce = os.urandom(_NONCE_BYTES)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, text.encode(), None)
        return base64.b64encode(nonce + sealed).decode()

    def decrypt(self, sealed: str) -> str:
        """Raises ConfigError if the key file is missing, or another one than at the encryption."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            key = self._key_file.read_bytes()
            data = base64.b64decode(sealed)
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return ChaCha20Poly1305(key).decrypt(nonce, rest, None).decode()
        except (OSError, ValueError, InvalidTag):
            raise ConfigError(
                f"the key file {self._key_file} is missing or not the one that the URL was "
                "encrypted with; add the channel again"
            ) from None
