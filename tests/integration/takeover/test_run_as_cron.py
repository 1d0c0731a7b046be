"""Imported definitions are run, and do what cron 3.0 on Debian 12 did with the same crontab."""

import os
import subprocess
from pathlib import Path

import pytest

from mythjobs.takeover import collect
from mythjobs.takeover.entry import PlanEntry
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.naming import ImportedNames
from tests.support.machine_tree import ME, MachineTree

# Lines of a crontab, and what cron wrote into the files.
OBSERVED = [
    (r"printf '\%s|' 'a\\b' 'c\d' \"$FOO\" \"$BAR\"", "a\\b|c\\d|two  words|plain value|"),
    (r"cat%one%two\%three", "one\ntwo%three\n"),
    ("cat%one%", "one\n"),
    ("cat; echo end", "end\n"),
    ("echo {a} b{c}", "{a} b{c}\n"),
    ("nice", f"{os.nice(0)}\n"),
]
SETTINGS = 'FOO = "two  words"\nBAR= plain value  \n'


def import_line(
    directory: Path, line: str, settings: str = SETTINGS, user: str = ME, home: str = ""
) -> PlanEntry:
    tree = MachineTree(directory)
    tree.write("/etc/passwd", f"{user}:x:1:65534::{home or directory}:/bin/sh\n")
    tree.write("/etc/group", "nogroup:x:65534:\n")
    tree.write(f"/var/spool/cron/crontabs/{user}", f"{settings}* * * * * {line}\n")
    root = MachineRoot(str(directory))
    facts = collect.collect_facts(root, machine="", runner=ME, this_year=2026)
    (entry,) = collect.plan_cron(root, facts, ImportedNames())
    return entry


def run(entry: PlanEntry, *, is_checked: bool = True) -> str:
    """Run the program of a definition as the queue does, and return its output."""
    table = entry.command or {}
    braces = {"{{": "{", "}}": "}"}
    argv = ["/bin/sh", "-c", table["shell"]] if "shell" in table else table["argv"]
    if "argv" in table:
        for double, single in braces.items():
            argv = [each.replace(double, single) for each in argv]
    done = subprocess.run(
        argv, env=table["env"], cwd=table["cwd"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=is_checked,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("line, output", OBSERVED)
@pytest.mark.parametrize("shell", ["", "SHELL=/bin/bash\n"])
def test_output_is_that_of_cron(tmp_path: Path, line: str, output: str, shell: str) -> None:
    line = line.replace('\\"', '"')
    assert run(import_line(tmp_path, line, shell + SETTINGS)) == output


def test_the_environment_is_that_of_cron(tmp_path: Path) -> None:
    lines = set(run(import_line(tmp_path, "env; pwd")).splitlines())
    # Cron set neither USER nor LANG; the queue would set them to its own values.
    assert lines - {"_=/usr/bin/env", "SHLVL=0"} == {
        "BAR=plain value",
        "FOO=two  words",
        f"HOME={tmp_path}",
        "LANG=C",
        f"LOGNAME={ME}",
        "PATH=/usr/bin:/bin",
        f"PWD={tmp_path}",
        "SHELL=/bin/sh",
        f"USER={ME}",
        str(tmp_path),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another user")
def test_another_user_has_the_variables_but_not_the_rights_of_root(tmp_path: Path) -> None:
    settings = 'PATH=/nowhere:/usr/bin:/bin\nGREETING="{it\'s} $HOME"\nHOME=/usr\nIFS=x\n'
    line = 'id -un; id -Gn; echo "$GREETING"; env | grep -c IMPORTED; pwd; cat; echo "$PATH"%in%put'
    entry = import_line(tmp_path, line, settings, user="nobody", home="/tmp")
    done = run(entry, is_checked=False)
    assert done == "nobody\nnogroup\n{it's} $HOME\n0\n/usr\nin\nput\n/nowhere:/usr/bin:/bin\n"
