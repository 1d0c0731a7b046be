"""State directory: its path and layout, its creation, and checks of owner and mode."""

from __future__ import annotations

import json
import os
import pwd
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from mythjobs.config import files
from mythjobs.config.file_kinds import check_state_files
from mythjobs.errors import NotAllowed, StateNotWritable
from mythjobs.model.state_path import default_state_path


@dataclass(frozen=True)
class StateDir:
    """Paths in a state directory; no file access."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def master_json(self) -> Path:
        return self.root / "master.json"

    @property
    def master_toml(self) -> Path:
        return self.root / "master.toml"

    @property
    def master_lock(self) -> Path:
        return self.root / "master.lock"

    @property
    def master_key(self) -> Path:
        return self.root / "master.key"

    @property
    def master_pub(self) -> Path:
        return self.root / "master.pub"

    @property
    def token(self) -> Path:
        return self.root / "token"

    @property
    def metrics_token(self) -> Path:
        """Token that permits to read metrics, and nothing else."""
        return self.root / "metrics.token"

    @property
    def secrets_key(self) -> Path:
        """Key that encrypts secrets in the store."""
        return self.root / "secrets.key"

    @property
    def network_json(self) -> Path:
        """Whether the master listens on the network."""
        return self.root / "network.json"

    @property
    def authority_key(self) -> Path:
        return self.root / "tls" / "authority.key"

    @property
    def authority_certificate(self) -> Path:
        return self.root / "tls" / "authority.pem"

    @property
    def server_key(self) -> Path:
        return self.root / "tls" / "server.key"

    @property
    def server_certificate(self) -> Path:
        return self.root / "tls" / "server.pem"

    @property
    def output(self) -> Path:
        """The master's output spool."""
        return self.root / "output"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def mythtv_settings(self) -> Path:
        """The MythTV backend of the bridge, which the master starts if this file exists."""
        return self.root / "mythtv" / "settings.toml"

    @property
    def agent(self) -> AgentDir:
        return AgentDir(self.root / "agent")


@dataclass(frozen=True)
class AgentDir:
    """The part of a state directory that belongs to the agent of this machine."""

    root: Path

    @property
    def key(self) -> Path:
        return self.root / "agent.key"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def reapers(self) -> Path:
        return self.root / "reapers"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def policy(self) -> Path:
        """The machine's own policy, written by its owner."""
        return self.root / "policy.toml"

    @property
    def network_master(self) -> Path:
        """The master on the network to which `mythjobs agent join` has bound this machine."""
        return self.root / "network-master.json"

    @property
    def probes(self) -> Path:
        """What the agent has found out about the programs of this machine."""
        return self.root / "probes.json"

    @property
    def scaling(self) -> Path:
        """What the agent has learned about commands and machine for automatic scaling."""
        return self.root / "scaling.json"

    def create(self) -> None:
        for path in (self.root, self.reapers, self.output, self.scratch):
            path.mkdir(mode=0o700, exist_ok=True)


@dataclass(frozen=True)
class MasterInfo:
    """Content of `master.json`, which a master writes when it is ready."""

    pid: int
    address: str
    port: int
    socket: str
    version: str
    store: str = ""  # URL without a password, or path


def open_state(path: Path | str | None = None, *, create: bool = True) -> StateDir:
    """Return the state directory at `path`, or the default one.

    create: create it (0700) if missing, and raise StateNotWritable unless this user owns it and
    can write it. If false, the directory may be missing; NotAllowed is raised if another user owns
    it and this user is not root. A FIFO, a device or a socket in the place of a file raises
    StateNotWritable.
    """
    root = Path(os.path.abspath(path or default_state_path(os.environ)))
    if create:
        _create(root)
        _check_ours(root)
    else:
        _check_readable(root)
    check_state_files(root)
    return StateDir(root)


def write_master_info(state: StateDir, info: MasterInfo) -> None:
    """Write `master.json` atomically. Raises OSError."""
    files.replace_file(state.master_json, json.dumps(asdict(info)).encode() + b"\n")


def read_master_info(state: StateDir) -> MasterInfo | None:
    """Return the content of `master.json`, or None. The master that wrote it may have ended."""
    try:
        return MasterInfo(**json.loads(state.master_json.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _create(root: Path) -> None:
    try:
        root.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not root.is_dir():
            raise StateNotWritable(
                f"{root} is not a directory; name another one with --state-dir"
            ) from None
    except OSError as error:
        raise StateNotWritable(
            f"cannot create the state directory {root} ({error.strerror}); create it as this user, "
            "or name another one with --state-dir"
        ) from None


def _check_ours(root: Path) -> None:
    facts = root.stat()
    if facts.st_uid != os.getuid():
        raise StateNotWritable(
            f"the state directory {root} belongs to {lookup_user_name(facts.st_uid)}; run mythjobs "
            f"as that user, or name another one with --state-dir"
        )
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise StateNotWritable(
            f"cannot write to the state directory {root}; run chmod u+rwx on it, or mount it "
            "writable, or name another one with --state-dir"
        )
    mode = stat.S_IMODE(facts.st_mode)
    if not mode & 0o077:
        return
    # Change the mode of an empty directory only. Other users may need access to a directory with
    # files in it, like /tmp or a home directory.
    if any(root.iterdir()):
        raise StateNotWritable(
            f"other users can access the state directory {root} (mode {mode:o}); run chmod 700 on "
            "it, or name an empty or a new one with --state-dir"
        )
    root.chmod(0o700)


def _check_readable(root: Path) -> None:
    try:
        owner = root.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotAllowed(
            f"cannot read the state directory {root} ({error.strerror}); run mythjobs as its "
            "owner, or name another one with --state-dir"
        ) from None
    if os.getuid() not in (owner, 0):
        raise NotAllowed(
            f"the state directory {root} belongs to {lookup_user_name(owner)}; run mythjobs as "
            f"that user, or name another one with --state-dir"
        )


def lookup_user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
