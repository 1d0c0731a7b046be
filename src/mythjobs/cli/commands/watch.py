"""`mythjobs watch`: submit a job for each new file in a directory."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import (
    COMMAND,
    DURATION,
    PARAMETER,
    TEXT,
    IntegerType,
    Pairs,
    refuse_duplicates,
)
from mythjobs.cli.paths import resolve_path
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.api_paths import command_path
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.client.client import Json
    from mythjobs.watch.file_tracker import Rate
    from mythjobs.watch.service import WatchEvent

_EXAMPLES: Final = """Examples:
  mythjobs watch /srv/inbox --command thumbnail --as source --pattern '*.mp4' --pattern '*.mkv'
  mythjobs watch /srv/scans --command ocr --recursive --rate 10/1m
  mythjobs watch /mnt/nas/inbox --command checksum --once"""


class RateType(click.ParamType["Rate"]):
    """`10/1m`: at most 10 jobs in any minute."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Rate:
        from mythjobs.watch.file_tracker import Rate

        if isinstance(value, Rate):
            return value
        count, slash, duration = value.partition("/")
        if not slash or not count.isascii() or not count.isdecimal() or not 0 < int(count) < 10**6:
            self.fail(f'"{value}" must be like 10/1m, ten jobs a minute', param, context)
        return Rate(int(count), DURATION.convert(duration, param, context))


@command("watch", epilog=_EXAMPLES)
@click.argument("directory", type=TEXT)
@click.option("--command", "name", type=COMMAND, required=True, help="The command of the jobs.")
@click.option(
    "-p", "--param", "parameters", multiple=True, type=PARAMETER, callback=refuse_duplicates,
    metavar="NAME=VALUE", help="A parameter of the command, the same for all files. Repeatable.",
)  # fmt: skip
@click.option(
    "--as", "parameter", type=TEXT, metavar="NAME",
    help="The parameter that gets the path. Default: the only required parameter of type path.",
)  # fmt: skip
@click.option(
    "--pattern", "patterns", multiple=True, type=TEXT, metavar="GLOB",
    help="Only files like *.ts; case is ignored. Repeatable.",
)  # fmt: skip
@click.option(
    "--exclude", "excluded", multiple=True, type=TEXT, metavar="GLOB",
    help="Leave out files like this. Hidden and *.part files are never taken. Repeatable.",
)  # fmt: skip
@click.option("--recursive", is_flag=True, help="Watch subdirectories too, except hidden ones.")
@click.option(
    "--settle", "settle_s", type=DURATION, default=10.0, show_default="10s",
    help="A file that has not changed for this long is complete.",
)  # fmt: skip
@click.option(
    "--poll", "poll_s", type=DURATION, default=30.0, show_default="30s",
    help="Time between two reads of a directory on a network file system.",
)  # fmt: skip
@click.option("--rate", type=RateType(), metavar="N/D", help="At most N jobs in D, like 10/1m.")
@click.option("--priority", type=IntegerType(-100, 100), default=0, help="Priority of the jobs.")
@click.option("--existing", is_flag=True, help="At the first start, also take files present.")
@click.option(
    "--once", is_flag=True, help="Handle the files present, then exit; with 1 if a job is refused."
)
@json_option
@pass_session
def watch(
    session: Session,
    directory: str,
    name: str,
    parameters: Pairs,
    parameter: str | None,
    patterns: tuple[str, ...],
    excluded: tuple[str, ...],
    recursive: bool,
    settle_s: float,
    poll_s: float,
    rate: Rate | None,
    priority: int,
    existing: bool,
    once: bool,
    as_json: bool,
) -> int:
    """Submit a job for each new file in a directory, until Ctrl-C or SIGTERM.

    The path is an argument of the job, and its subject if the command has none. A file is taken
    when it is complete: unchanged for a while, and no program of this machine writes to it. A file
    that changes later gets another job, unless its own job changed it. Files that arrive while no
    watch runs are taken at the next start; no file is taken twice.
    """
    from mythjobs.config import locks
    from mythjobs.config.file_kinds import check_files
    from mythjobs.watch.directory_scan import FileFilter
    from mythjobs.watch.service import DirectoryWatch, WatchOptions

    directory = os.path.normpath(resolve_path(directory, "directory"))
    client = session.client()
    definition = client.get(command_path(name))["definition"]
    arguments = dict(parameters)
    options = WatchOptions(
        directory=directory,
        command=name,
        parameter=_choose_parameter(definition, parameter, arguments),
        has_subject=bool(definition.get("subject")),
        arguments=arguments,
        accepted=FileFilter(patterns, excluded, recursive),
        settle_s=settle_s,
        poll_s=poll_s,
        rate=rate,
        priority=priority,
        is_once=once,
        includes_present=existing,
    )
    state = Path(session.root, "watch", f"{_identify(directory, name)}.json")
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_files(state.parent)

    def report(event: WatchEvent) -> None:
        if as_json:
            terminal.print_line_now(json.dumps(event._asdict()))  # one event a line
        elif event.kind in ("submitted", "known"):
            terminal.print_line_now(event.sentence)
        else:
            terminal.print_message(event.sentence)

    with locks.acquire(state.with_suffix(".lock"), f"a watch of {directory}"):
        watching = DirectoryWatch(options, client, state, report)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: watching.stop())
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        watching.run()
    if not as_json:
        jobs = "1 job" if watching.submitted == 1 else f"{watching.submitted} jobs"
        terminal.print_message(f"{jobs} submitted")
    return 1 if once and watching.refused else 0


def _identify(directory: str, name: str) -> str:
    data = b"\0".join([os.fsencode(directory), name.encode()])
    return hashlib.sha256(data).hexdigest()[:24]


def _choose_parameter(definition: Json, given: str | None, arguments: dict[str, str]) -> str:
    """Return the parameter that gets the path. Raises BadRequest."""
    found = {each["name"]: each for each in definition.get("parameters", [])}
    name = definition["name"]
    for each in (*arguments, *([given] if given else [])):
        if each not in found:
            known = ", ".join(found) or "none"
            raise BadRequest(f'{name} has no parameter "{each}"; it has {known}')
    if given:
        if given in arguments:
            raise BadRequest(
                f'the parameter "{given}" is set by --param, and --as gives it the path; '
                "omit one of them"
            )
        return given
    free = [
        each["name"]
        for each in found.values()
        if each.get("type") == "path" and each["name"] not in arguments
        and "default" not in each and each.get("required", True)
    ]  # fmt: skip
    if len(free) != 1:
        if free:
            why = f"{name} requires several paths ({', '.join(free)})"
        else:
            why = f"{name} has no other required parameter of type path"
        raise BadRequest(f"{why}; name the parameter that gets the file with --as")
    return str(free[0])
