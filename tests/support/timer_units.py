"""Ten timers with their services, as distributions and their users write them."""

from __future__ import annotations

from typing import Final

from tests.support.machine_tree import MachineTree

_VENDOR: Final = "/usr/lib/systemd/system"
_ADMIN: Final = "/etc/systemd/system"

# From Debian 12, except the last five.
UNITS: Final = {
    f"{_VENDOR}/fstrim.timer": """[Unit]
Description=Discard unused blocks once a week
Documentation=man:fstrim
ConditionVirtualization=!container

[Timer]
OnCalendar=weekly
AccuracySec=1h
Persistent=true
RandomizedDelaySec=6000

[Install]
WantedBy=timers.target
""",
    f"{_VENDOR}/fstrim.service": """[Unit]
Description=Discard unused blocks on filesystems from /etc/fstab
ConditionVirtualization=!container

[Service]
Type=oneshot
ExecStart=/sbin/fstrim --listed-in /etc/fstab:/proc/self/mountinfo --verbose
PrivateDevices=no
PrivateNetwork=yes
""",
    f"{_VENDOR}/dpkg-db-backup.timer": """[Unit]
Description=Daily dpkg database backup timer

[Timer]
OnCalendar=daily
AccuracySec=1h
Persistent=true

[Install]
WantedBy=timers.target
""",
    f"{_VENDOR}/dpkg-db-backup.service": """[Unit]
Description=Daily dpkg database backup service
Documentation=man:dpkg(1)

[Service]
Type=oneshot
ExecStart=/usr/libexec/dpkg/dpkg-db-backup
""",
    f"{_VENDOR}/apt-daily.timer": """[Unit]
Description=Daily apt download activities

[Timer]
OnCalendar=*-*-* 6,18:00
RandomizedDelaySec=12h
Persistent=true

[Install]
WantedBy=timers.target
""",
    f"{_VENDOR}/apt-daily.service": """[Unit]
Description=Daily apt download activities
ConditionACPower=true
After=network-online.target

[Service]
Type=oneshot
ExecStartPre=-/usr/lib/apt/apt-helper wait-online
ExecStart=/usr/lib/apt/apt.systemd.daily update
""",
    f"{_VENDOR}/systemd-tmpfiles-clean.timer": """[Timer]
OnBootSec=15min
OnUnitActiveSec=1d
""",
    f"{_VENDOR}/systemd-tmpfiles-clean.service": """[Unit]
Description=Cleanup of Temporary Directories
DefaultDependencies=no
Before=shutdown.target

[Service]
Type=oneshot
ExecStart=systemd-tmpfiles --clean
SuccessExitStatus=65
IOSchedulingClass=idle
""",
    f"{_VENDOR}/pg_dump@.timer": """[Timer]
OnCalendar=weekly
RandomizedDelaySec=1h
FixedRandomDelay=true
""",
    f"{_VENDOR}/pg_dump@.service": """[Unit]
Description=Dump of PostgreSQL Cluster %i

[Service]
Type=oneshot
User=other
Environment=CLUSTER=%I "OPTIONS=-F c" KEEP=3
ExecStart=/usr/bin/dump --cluster ${CLUSTER} $OPTIONS --host=%H "two words" --percent=100%%
WorkingDirectory=~
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
TimeoutStartSec=2h 30min
TimeoutStopSec=20
MemoryMax=2G
TasksMax=50
""",
    f"{_ADMIN}/backup.timer": """[Timer]
# twice on working days, and on the first Sunday
OnCalendar=Mon..Fri *-*-* 12,18:30 Europe/Berlin
OnCalendar=Sun *-*-1..7 03:00 Europe/Berlin
""",
    f"{_ADMIN}/backup.service": """[Service]
ExecStartPre=/bin/mount /mnt/backup
ExecStartPre=-/bin/rm -f "/mnt/backup/old file"
ExecStart=/opt/backup \\
  --all \\
# a comment between the lines
  --verbose
ExecStartPost=/bin/umount /mnt/backup
Type=oneshot
""",
    f"{_ADMIN}/backup.service.d/10-limit.conf": "[Service]\nRuntimeMaxSec=1h\nNice=5\n",
    f"{_ADMIN}/poll.timer": """[Timer]
OnUnitInactiveSec=90
OnActiveSec=1
""",
    f"{_ADMIN}/poll.service": """[Service]
Type=exec
ExecStart=/opt/poll
RuntimeMaxSec=10min
KillMode=process
""",
    f"{_ADMIN}/once.timer": "[Timer]\nOnBootSec=2min\n",
    f"{_ADMIN}/once.service": "[Service]\nExecStart=/opt/once\n",
    f"{_ADMIN}/friday.timer": "[Timer]\nOnCalendar=Fri *-*-13 13:13\n",
    f"{_ADMIN}/friday.service": "[Service]\nExecStart=/opt/friday\n",
    f"{_ADMIN}/orphan.timer": "[Timer]\nOnCalendar=hourly\n",
    f"{_ADMIN}/disabled.timer": "[Timer]\nOnCalendar=hourly\n",
    f"{_ADMIN}/disabled.service": "[Service]\nExecStart=/opt/disabled\n",
}
# Links that enable timers, and their targets.
LINKS: Final = {
    f"{_ADMIN}/timers.target.wants/{name}": target
    for name, target in {
        "fstrim.timer": f"{_VENDOR}/fstrim.timer",
        "dpkg-db-backup.timer": f"{_VENDOR}/dpkg-db-backup.timer",
        "apt-daily.timer": f"{_VENDOR}/apt-daily.timer",
        "pg_dump@main-1.timer": f"{_VENDOR}/pg_dump@.timer",
        "backup.timer": "../backup.timer",
        "poll.timer": "../poll.timer",
        "once.timer": "../once.timer",
        "friday.timer": "../friday.timer",
        "orphan.timer": "../orphan.timer",
    }.items()
} | {
    f"{_VENDOR}/timers.target.wants/systemd-tmpfiles-clean.timer": "../systemd-tmpfiles-clean.timer"
}


def add_timers(tree: MachineTree) -> None:
    for path, text in UNITS.items():
        tree.write(path, text)
    for path, target in LINKS.items():
        tree.link(path, target)
