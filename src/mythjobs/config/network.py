"""Files about the network: whether a master listens there, and which master an agent has joined."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from mythjobs.config import files
from mythjobs.config.state import AgentDir, StateDir
from mythjobs.errors import ConfigError

Kind = TypeVar("Kind", bound=Struct)


class NetworkSetting(Struct, frozen=True):
    """Content of `network.json`. is_open: the master's port listens on all addresses."""

    is_open: bool = False


class JoinedMaster(Struct, frozen=True):
    """Content of `network-master.json`: the master that this machine has joined.

    addresses: HOST:PORT, tried in this order. master_key: its public key (hex). authority: the
    certificate (PEM) that signs the certificate of its port.
    """

    addresses: list[str]
    master_key: str
    authority: str


def read_network_setting(state: StateDir) -> NetworkSetting:
    """Return the setting of `mythjobs lan`; closed if it was never used. Raises ConfigError."""
    data = _read(state.network_json)
    return NetworkSetting() if data is None else _decode(state.network_json, data, NetworkSetting)


def write_network_setting(state: StateDir, setting: NetworkSetting) -> None:
    files.replace_file(state.network_json, msgspec.json.encode(setting) + b"\n")


def read_joined_master(agent: AgentDir) -> JoinedMaster | None:
    """Return the master that this machine has joined, None if it has joined none.

    Raises ConfigError if the file is damaged.
    """
    data = _read(agent.network_master)
    return None if data is None else _decode(agent.network_master, data, JoinedMaster)


def write_joined_master(agent: AgentDir, master: JoinedMaster) -> None:
    files.replace_file(agent.network_master, msgspec.json.encode(master) + b"\n")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _decode(path: Path, data: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}); remove it, and repeat `mythjobs lan on` or "
            "`mythjobs agent join`"
        ) from None
