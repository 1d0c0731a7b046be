"""Facts about systemd that several packages use."""

from __future__ import annotations

from typing import Final

# This directory exists if the machine runs systemd (sd_booted(3)).
SYSTEMD_BOOTED: Final = "/run/systemd/system"
