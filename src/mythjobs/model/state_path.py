"""Default path of the state directory, as a string, because importing pathlib takes 4 ms."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mythjobs.errors import ConfigError


def default_state_path(environ: Mapping[str, str]) -> str:
    """Return the state directory to use without `--state-dir`.

    Raises ConfigError if the user has neither $HOME nor an entry in the user database.
    """
    if path := environ.get("MYTHJOBS_STATE_DIR"):
        return path
    # Relative paths must be ignored (XDG Base Directory Specification).
    if (state_home := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return os.path.join(state_home, "mythjobs")
    home = environ.get("HOME")
    if not home and os.getuid() == 0:
        return "/var/lib/mythjobs"
    if not home:
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise ConfigError(
                f"cannot find the state directory: user {os.getuid()} has no home directory; "
                "set MYTHJOBS_STATE_DIR"
            ) from None
    return os.path.join(home, ".local/state/mythjobs")
