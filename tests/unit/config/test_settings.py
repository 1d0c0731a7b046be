"""Choice of the store: option, environment, file; passwords are not shown."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mythjobs.config.settings import choose_store, read_retention_setting
from mythjobs.config.state import StateDir
from mythjobs.errors import BadRequest, ConfigError
from mythjobs.model.retention import DEFAULT, Retention
from mythjobs.store.open import redact_password

URL = "postgresql://ann:secret@db/jobs"


def test_option_overrides_environment_overrides_file(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert choose_store(state, None, {}) == tmp_path / "store.db"
    state.master_toml.write_text(f'store = "{URL}"\n')
    assert choose_store(state, None, {}) == URL
    assert choose_store(state, None, {"MYTHJOBS_STORE": "postgres:///a"}) == "postgres:///a"
    assert choose_store(state, "postgresql:///b", {"MYTHJOBS_STORE": "postgres:///a"}) == (
        "postgresql:///b"
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('store = "mysql://x"', "is not a PostgreSQL URL"),
        ("store = 3", "store must be text in quotes"),
        ('stores = "x"', "unknown key stores; known are store"),
        ("store", "cannot read"),
    ],
)
def test_an_invalid_file_is_a_configuration_error(tmp_path: Path, text: str, sentence: str) -> None:
    state = StateDir(tmp_path)
    state.master_toml.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        choose_store(state, None, {})


def test_an_invalid_option_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r'--store "store\.db" is not a PostgreSQL URL'):
        choose_store(StateDir(tmp_path), "store.db", {})
    with pytest.raises(ConfigError, match="MYTHJOBS_STORE"):
        choose_store(StateDir(tmp_path), None, {"MYTHJOBS_STORE": "x"})


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    assert redact_password(URL) == "postgresql://ann@db/jobs"
    assert redact_password("postgresql:///jobs?user=ann&password=secret&host=/run") == (
        "postgresql:///jobs?user=ann&host=/run"
    )
    assert redact_password(f"{tmp_path}/store.db") == f"{tmp_path}/store.db"


def test_the_file_may_limit_what_is_kept(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert read_retention_setting(state) == DEFAULT
    state.master_toml.write_text('[retention]\nage = "30d"\noutput = "unlimited"\n')
    assert read_retention_setting(state) == Retention(30 * 86_400, math.inf, math.inf)
    assert choose_store(state, None, {}) == tmp_path / "store.db"
    state.master_toml.write_text('[retention]\nage = "x"\n')
    with pytest.raises(ConfigError, match=r'master\.toml: retention\.age: "x" is not a duration'):
        read_retention_setting(state)
