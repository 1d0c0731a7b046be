"""Settings of the master: its store (--store, MYTHJOBS_STORE, master.toml) and retention."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.config.bounded_files import read_file
from mythjobs.config.state import StateDir
from mythjobs.errors import BadRequest, ConfigError, DefinitionError
from mythjobs.model.retention import DEFAULT, Retention, merge, read_retention

_KEYS: Final = ("store", "retention")
_SCHEMES: Final = ("postgresql", "postgres")
_EXAMPLE: Final = "postgresql://mythjobs@localhost/mythjobs"
STORE_VARIABLE: Final = "MYTHJOBS_STORE"


def choose_store(state: StateDir, given: str | None, environ: Mapping[str, str]) -> str | Path:
    """Return the store to use: the PostgreSQL URL from the option --store, the environment or
    master.toml, in this order, else the path of the SQLite file in the state directory.

    Raises BadRequest for an invalid option, ConfigError for an invalid URL elsewhere.
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


def read_retention_setting(state: StateDir) -> Retention:
    """Return the queue's retention limits: those of master.toml, else the defaults.

    Raises ConfigError.
    """
    try:
        own = read_retention(_read_table(state.master_toml).get("retention", {}))
    except DefinitionError as error:
        raise ConfigError(f"{state.master_toml}: {error.sentence}") from None
    return merge(own, DEFAULT)


def _read_store_setting(path: Path) -> str:
    store = _read_table(path).get("store", "")
    if not isinstance(store, str):
        raise ConfigError(f'{path}: store must be text in quotes, like "{_EXAMPLE}"')
    return store


def _read_table(path: Path) -> Mapping[str, object]:
    """Return the settings of master.toml, none if there is no such file. Raises ConfigError."""
    try:
        table = tomllib.loads(read_file(path).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key}; known are {', '.join(_KEYS)}")
    return table
