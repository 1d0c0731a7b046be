"""HTTP digest authentication of MythTV 0.28 to 31: RFC 7616 with MD5 and qop=auth.

Made from the RFC and MythTV's behaviour: realm MythTV; the nonce begins with the UTC time and is
valid for two minutes, then the challenge is repeated as stale; all of eight fields are required;
the uri must be that of the request.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from datetime import UTC, datetime

_REALM = "MythTV"
_FIELDS = {"nonce", "username", "realm", "uri", "response", "qop", "cnonce", "nc"}
_numbers = itertools.count()


class DigestLogin:
    """`refused` are the reasons for which an answer to a challenge was not accepted."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._secret = _md5(f"{user}:{_REALM}:{password}")
        self._nonces = [self._make_nonce()]
        self.refused: list[str] = []

    @property
    def challenge(self) -> str:
        return f'Digest realm="{_REALM}",qop="auth",algorithm="MD5",nonce="{self._nonces[-1]}"'

    def expire(self) -> None:
        """Let no nonce that was given out be valid any more."""
        self._nonces.append(self._make_nonce())

    def is_valid(self, header: str, verb: str, uri: str) -> bool:
        if not header:
            return False
        why = self._explain(header, verb, uri)
        if why:
            self.refused.append(why)
        return not why

    def _explain(self, header: str, verb: str, uri: str) -> str:
        kind, _, rest = header.partition(" ")
        if kind.lower() != "digest":
            return f"method {kind}"
        given = {k.lower(): v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|[^,]*)', rest)}
        if missing := _FIELDS - given.keys():
            return f"without {sorted(missing)}"
        if (given["uri"], given["realm"], given["username"]) != (uri, _REALM, self._user):
            return "uri, realm or user"
        if given["nonce"] != self._nonces[-1]:
            return "nonce"
        parts = (given[each] for each in ("nonce", "nc", "cnonce", "qop"))
        expected = _md5(":".join([self._secret, *parts, _md5(f"{verb}:{uri}")]))
        return "" if given["response"] == expected else "response"

    def _make_nonce(self) -> str:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return at + hashlib.sha1(f"{at}:{next(_numbers)}".encode()).hexdigest()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
