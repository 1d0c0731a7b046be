"""Files of a machine below a root directory: accounts, time zone, and atomic replacement."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.config.bounded_files import MAX_SYSTEM_FILE_BYTES, read_file
from mythjobs.config.files import sync_directory
from mythjobs.errors import BadRequest
from mythjobs.takeover.entry import Account

_ZONES: Final = "/zoneinfo/"
_ENVIRONMENT_FILES: Final = ("/etc/environment", "/etc/default/locale", "/etc/locale.conf")


class MachineRoot:
    """The files of this machine, or of another root directory (--root).

    name: its absolute path. is_live: cron and systemd of this machine read these files.
    """

    def __init__(self, directory: str = "/") -> None:
        self.directory = Path(directory)
        self.name = os.path.realpath(directory)
        self.is_live = self.name == "/"
        if not self.directory.is_dir():
            raise BadRequest(f"{directory} is not a directory; name the root of a file system")

    def path(self, absolute: str) -> Path:
        """Return the path of a file that the machine knows under an absolute path."""
        return self.directory / absolute.lstrip("/")

    def exists(self, absolute: str) -> bool:
        return os.path.lexists(self.path(absolute))

    def read(self, absolute: str) -> bytes | None:
        """Return the content, or None if there is no such file. Raises BadRequest."""
        try:
            return read_file(self.path(absolute), MAX_SYSTEM_FILE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BadRequest(f"cannot read {self.path(absolute)}: {error.strerror}") from None

    def list_names(self, absolute: str) -> list[str]:
        """Return the names in a directory, sorted; none if it does not exist or is not readable."""
        try:
            return sorted(os.listdir(self.path(absolute)))
        except OSError:
            return []

    def read_accounts(self) -> dict[str, Account]:
        """Return the users of the machine by name."""
        users, groups = self._read_table("/etc/passwd"), self._read_table("/etc/group")
        if self.is_live or not users:
            names = {each.gr_gid: each.gr_name for each in grp.getgrall()}
            return {
                each.pw_name: Account(
                    each.pw_name, names.get(each.pw_gid, str(each.pw_gid)), each.pw_dir
                )
                for each in pwd.getpwall()
            }
        by_gid = {fields[2]: fields[0] for fields in groups if len(fields) > 2}
        return {
            fields[0]: Account(fields[0], by_gid.get(fields[3], fields[3]), fields[5])
            for fields in users
            if len(fields) > 5
        }

    def _read_table(self, absolute: str) -> list[list[str]]:
        data = self.read(absolute) or b""
        return [line.split(":") for line in decode(data).splitlines() if line]

    def read_zone(self) -> str:
        """Return the name of the local time zone, or "" if it is unknown."""
        try:
            target = os.readlink(self.path("/etc/localtime"))
        except OSError:
            target = ""
        if _ZONES in target:
            return target.partition(_ZONES)[2].removeprefix("posix/")
        return decode(self.read("/etc/timezone") or b"").strip()

    def read_login_environment(self) -> dict[str, str]:
        """Return the variables that PAM sets for cron jobs and logins."""
        return {
            name: value
            for path in _ENVIRONMENT_FILES
            for name, value in _parse_assignments(decode(self.read(path) or b""))
        }

    def remove_temporary(self, absolute: str) -> None:
        """Remove the temporary file of a `replace` that was killed. Raises BadRequest."""
        temporary = _name_temporary(Path(os.path.realpath(self.path(absolute))))
        try:
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise BadRequest(f"cannot remove {temporary}: {error.strerror}") from None

    def replace(self, absolute: str, data: bytes) -> None:
        """Replace a file atomically, with the same owner, mode and attributes.

        The temporary file's name begins with a dot, so that cron ignores it. Raises BadRequest.
        """
        path = Path(os.path.realpath(self.path(absolute)))
        temporary = _name_temporary(path)
        try:
            status = path.stat()
            temporary.unlink(missing_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                        os.chown(fd, status.st_uid, status.st_gid)
                    os.chmod(fd, status.st_mode & 0o7777)
                    _copy_attributes(path, fd)
                    os.fsync(fd)
                os.replace(temporary, path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)
        except OSError as error:
            raise BadRequest(
                f"cannot change {path}: {error.strerror}; nothing was changed"
            ) from None


def _name_temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.mythjobs")


def _copy_attributes(path: Path, fd: int) -> None:
    """Copy extended attributes (ACL, SELinux label) where the file system has them."""
    with suppress(OSError):
        for name in os.listxattr(path):
            with suppress(OSError):
                os.setxattr(fd, name, os.getxattr(path, name))


def _parse_assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        line = line.strip().removeprefix("export ")
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#") and name.isidentifier():
            with suppress(ValueError):  # an open quote
                yield name, " ".join(shlex.split(value))


def decode(data: bytes) -> str:
    """Return text in which bytes that are not UTF-8 stay recognizable."""
    return data.decode("utf-8", "surrogateescape")
