"""Settings of the master: where its store is (--store, MYTHJOBS_STORE, master.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.config.state import StateDir
from mythjobs.errors import BadRequest, ConfigError

_KEYS: Final = ("store",)
_SCHEMES: Final = ("postgresql", "postgres")
_EXAMPLE: Final = "postgresql://mythjobs@localhost/mythjobs"
STORE_VARIABLE: Final = "MYTHJOBS_STORE"


def choose_store(state: StateDir, given: str | None, environ: Mapping[str, str]) -> str | Path:
    """Return the URL from the option, the environment or master.toml, in this order, else the
    SQLite file of the state directory.

    Raises BadRequest for an invalid option, ConfigError for the other two.
    """
    if given is not None:
        if not _is_url(given):
            raise BadRequest(f'--store "{given}" is not a PostgreSQL URL; write it like {_EXAMPLE}')
        return given
    for source, url in (
        (STORE_VARIABLE, environ.get(STORE_VARIABLE)),
        (str(state.master_toml), _read_store_setting(state.master_toml)),
    ):
        if url:
            if not _is_url(url):
                raise ConfigError(
                    f'{source}: the store "{url}" is not a PostgreSQL URL; write it like '
                    f"{_EXAMPLE}, or omit it to use a file in the state directory"
                )
            return url
    return state.store


def _is_url(text: str) -> bool:
    return text.partition("://")[0] in _SCHEMES and "://" in text


def _read_store_setting(path: Path) -> str:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key}; known are {', '.join(_KEYS)}")
    store = table.get("store", "")
    if not isinstance(store, str):
        raise ConfigError(f'{path}: store must be text in quotes, like "{_EXAMPLE}"')
    return store
