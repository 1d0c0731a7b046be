"""Files of a machine with cron and timers, below a temporary root directory."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Final

ME: Final = getpass.getuser()
CRONTAB: Final = f"/var/spool/cron/crontabs/{ME}"

# Every construct of crontab(5), in a user's crontab.
USER_CRONTAB: Final = r"""# edit me

0 1 * * * /opt/early.sh
SHELL=/bin/bash
PATH = "/opt/my bin:/usr/bin:/bin"
GREETING='hello  '
MAILTO=""
*/10 8-18 * * 1-5	ping -c1 nas >/dev/null
0,30 0-23/2 1,15 jan,jul *   echo "$GREETING" | tee -a out
15 4 * * sun   cd /srv && ./tidy.py --all
30 2 29 2 5 /opt/leap.sh
@hourly /opt/beat
@daily /opt/beat
@midnight /opt/night
@weekly /opt/week
@monthly /opt/month
@yearly /opt/year
@annually /opt/year
@reboot /opt/start
0 6 * * * mail -s "It's 6am" me%Hello,%%the time is 6\%
5 5 * * * date +\%F
   # an indented comment
  7 7 * * *   {indented} a{b}c
MAILTO=me@example.org
0 3 * * * /opt/mailed
"""

SYSTEM_CRONTAB: Final = f"""SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
17 * * * * {ME} cd / && run-parts --report /etc/cron.hourly
25 6 * * * {ME} test -x /usr/sbin/anacron || run-parts /etc/cron.daily
0 5 * * 0 nobody-here /opt/lost
10 5 * * * other /opt/other
"""

ANACRONTAB: Final = """SHELL=/bin/sh
START_HOURS_RANGE=3-22
RANDOM_DELAY=45
1 5 cron.daily run-parts /etc/cron.daily
7 10 cron.weekly run-parts /etc/cron.weekly
@monthly 15 cron.monthly run-parts /etc/cron.monthly
3 20 every.third /opt/third
"""


class MachineTree:
    """A root directory in which files are written by their absolute paths."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("/etc/passwd", f"root:x:0:0::/root:/bin/sh\n{ME}:x:1:1::/home/me:/bin/sh\n")
        with self.path("/etc/passwd").open("a") as file:
            file.write("other:x:2:2::/home/other:/bin/sh\n")
        self.write("/etc/group", "root:x:0:\nmine:x:1:\nothers:x:2:\n")
        self.write("/usr/sbin/cron", "")

    def path(self, absolute: str) -> Path:
        return self.directory / absolute.lstrip("/")

    def write(self, absolute: str, text: str | bytes, mode: int = 0o644) -> Path:
        path = self.path(absolute)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def link(self, absolute: str, target: str) -> None:
        path = self.path(absolute)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, path)

    def add_cron(self) -> None:
        """Write crontabs with every construct."""
        self.write(f"/var/spool/cron/crontabs/{ME}", USER_CRONTAB, 0o600)
        self.write("/etc/crontab", SYSTEM_CRONTAB)
        self.write("/etc/cron.d/tool", f"0 4 * * * {ME} /opt/tool\n")
        self.write("/etc/cron.d/tool.dpkg-old", f"0 4 * * * {ME} /opt/tool\n")
        self.write("/etc/cron.d/no-break", f"0 4 * * * {ME} /opt/tool")
        self.write("/etc/cron.d/open", f"0 4 * * * {ME} /opt/tool\n", 0o666)
        self.write("/etc/cron.hourly/sync", "#!/bin/sh\n", 0o755)
        self.write("/etc/cron.hourly/sync.old", "#!/bin/sh\n", 0o755)
        self.write("/etc/cron.hourly/off", "#!/bin/sh\n", 0o644)
        for name in ("daily", "weekly", "monthly"):
            self.path(f"/etc/cron.{name}").mkdir()

    def add_anacron(self) -> None:
        self.write("/usr/sbin/anacron", "")
        self.write("/etc/anacrontab", ANACRONTAB)
        self.write("/etc/cron.d/anacron", "30 7-23 * * * root /usr/sbin/anacron -s\n")
        self.write("/var/spool/anacron/cron.weekly", "20261125\n")
        self.write("/var/spool/anacron/every.third", "20261127\n")

    def add_two_entries(self) -> bytes:
        """Write a crontab with two entries that differ only in their names; return its content."""
        text = "# mine\nMAILTO=''\n0 4 * * * /opt/a\n\n0 4 * * * /opt/b\n"
        self.write(CRONTAB, text, 0o600)
        return text.encode()
