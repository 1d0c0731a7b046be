"""Hooks of schemathesis for test_openapi.py, loaded by its command line (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

# `wait` is an upper limit of the response time, and a wait for an open job uses all of it.
_MAX_WAIT_S: Final = 0.02

schemathesis.openapi.media_type(
    "application/x-ndjson", st.sampled_from([b'{"text": "a"}\n{}\n', b"{}", b"[1]\n"]) | st.binary()
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int | float) and wait > _MAX_WAIT_S:
        case.query["wait"] = _MAX_WAIT_S
