"""`mythjobs mythtv setup`, `bridge`, `status` and `takeover`: the bridge to a MythTV backend."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from mythjobs.cli import terminal, times
from mythjobs.cli.options import DURATION, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session

if TYPE_CHECKING:
    from mythjobs.client.client import Json
    from mythjobs.mythtv.bridge.takeover import Takeover
    from mythjobs.mythtv.settings import BridgeDir, BridgeSettings

_PASSWORD: Final = "MYTHJOBS_MYTHTV_PASSWORD"
_NO_DATABASE: Final = (
    "no: transcode profiles of recordings are unknown, so MythTV's transcode jobs run the "
    "command `transcode` with autodetect"
)
_SETUP: Final = """Examples:
  mythjobs mythtv setup --host mythbox --pin -
  mythjobs mythtv setup --host mythbox --config /home/mythtv/.mythtv/config.xml"""


@command("setup", epilog=_SETUP)
@click.option("--host", type=TEXT, help="MythTV's master backend: its name or address.")
@click.option("--port", type=IntegerType(1, 65535), help="Port of MythTV's protocol.")
@click.option("--status-port", type=IntegerType(1, 65535), help="Port of MythTV's status page.")
@click.option(
    "--pin", type=TEXT,
    help="MythTV's security pin, to learn its database; with -, it is asked for or read from "
    "stdin, so that other users do not see it in the list of processes.",
)  # fmt: skip
@click.option("--config", metavar="FILE", type=TEXT, help="MythTV's config.xml with the database.")
@click.option("--no-database", is_flag=True, help="Use no database.")
@click.option(
    "--user", type=TEXT,
    help=f"User of the backend's Services API, if it requires a login; the password is in "
    f"{_PASSWORD}, or asked for.",
)  # fmt: skip
@click.option("--name", type=TEXT, help="Host name under which the bridge claims MythTV's jobs.")
@click.option("--poll", type=DURATION, help="How often MythTV's queue is read. Default: 2s.")
@json_option
@pass_session
def setup(
    session: Session,
    host: str | None,
    port: int | None,
    status_port: int | None,
    pin: str | None,
    config: str | None,
    no_database: bool,
    user: str | None,
    name: str | None,
    poll: float | None,
    as_json: bool,
) -> None:
    """Connect this queue to a MythTV backend.

    The connection is checked and kept in mythtv/settings.toml in the state directory. Options that
    are not given keep their value. The database is needed to show jobs on MythTV's screens, and for
    changes of its recordings.
    """
    from mythjobs.errors import BadRequest
    from mythjobs.mythtv.bridge.takeover import load_takeover
    from mythjobs.mythtv.settings import (
        BridgeSettings,
        bridge_dir,
        default_name,
        explain_bad_host,
        explain_bad_name,
        load_settings,
    )

    directory = bridge_dir(session.root)
    before = load_settings(directory)
    if before is None and not host:
        raise BadRequest("name the MythTV backend with --host")
    settings = before or BridgeSettings(host or "", name=default_name())
    if pin == "-":
        pin = terminal.read_secret("Pin")
    given = {
        "host": host, "port": port, "status_port": status_port, "pin": pin, "user": user,
        "name": name, "poll_s": poll,
    }  # fmt: skip
    if name is not None and (why := explain_bad_name(name)):
        raise BadRequest(f'--name "{name}" {why}')
    if host is not None and (why := explain_bad_host(host)):
        raise BadRequest(f'--host "{host}" {why}')
    if before and name not in (None, before.name) and load_takeover(directory).is_on:
        raise BadRequest(
            "the bridge has marked MythTV's jobs by its present name; run "
            "`mythjobs mythtv takeover off` before you change it"
        )
    settings = replace(settings, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    if user:
        settings = replace(settings, password=_read_password(user))
    elif user == "":
        settings = replace(settings, password="")
    settings = _choose_database(settings, config, no_database)
    _store(session, settings, as_json)


def _read_password(user: str) -> str:
    password = os.environ.get(_PASSWORD)
    if password is None:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return str(password)


def _choose_database(
    settings: BridgeSettings, config: str | None, no_database: bool
) -> BridgeSettings:
    """Return the settings with the database of the options, of the environment, of the backend (by
    its pin), the present one, or that of MythTV's config.xml on this machine."""
    from mythjobs.mythtv.bridge.discovery import fetch_database, format_database
    from mythjobs.mythtv.database.address import (
        ENVIRONMENT,
        find_address,
        find_config_file,
        read_config_file,
    )
    from mythjobs.mythtv.services.client import open_services

    if no_database:
        return replace(settings, database="")
    if config or os.environ.get(ENVIRONMENT):
        address = find_address(os.environ, config=config or "")
        return replace(settings, database=format_database(address))
    if settings.pin:
        with open_services(settings) as services:
            address = fetch_database(services, settings.pin, settings.host)
        return replace(settings, database=format_database(address))
    if not settings.database and (found := find_config_file(os.environ)):
        return replace(settings, database=format_database(read_config_file(found)))
    return settings


def _store(session: Session, settings: BridgeSettings, as_json: bool) -> None:
    from mythjobs.mythtv.bridge.discovery import check_backend
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import bridge_dir, save_settings

    with open_services(settings) as services:
        found = check_backend(settings, services)
    save_settings(bridge_dir(session.root), settings)
    if as_json:
        terminal.print_json(found)
        return
    terminal.print_line(
        f"connected to MythTV {found['version']} on {settings.host}, protocol {found['protocol']}"
    )
    if settings.database:
        terminal.print_line(f"database {found['database']}")
    else:
        terminal.print_line(
            "no database: MythTV's screens do not show jobs that run here (give --pin or --config)"
        )
    terminal.print_message(
        "`mythjobs up` starts the bridge within seconds; `mythjobs mythtv status` shows it"
    )


@command("bridge")
@click.option("--end-with-stdin", is_flag=True, hidden=True)
@pass_session
def bridge(session: Session, end_with_stdin: bool) -> int:
    """Run the bridge until Ctrl-C.

    `mythjobs up` and `mythjobs master` do so if a backend is configured. The bridge makes jobs of
    recordings by rules (`mythjobs mythtv rules`) and runs the jobs of MythTV's own queue while that
    is taken over (`mythjobs mythtv takeover on`).
    """
    from mythjobs.mythtv.bridge.service import run_bridge

    return run_bridge(session.root, ends_with_stdin=end_with_stdin)


@command("status")
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show whether the bridge runs, its connections, and problems to solve."""
    from mythjobs.mythtv.bridge.state_files import read_status
    from mythjobs.mythtv.bridge.takeover import load_takeover
    from mythjobs.mythtv.settings import bridge_dir, require_settings

    directory = bridge_dir(session.root)
    settings = require_settings(directory)
    pid = _find_bridge(directory)
    found: Json = read_status(directory)
    if pid and found.get("pid") != pid:
        found = {}  # of an earlier bridge that was killed; the present one is only starting
    takeover = load_takeover(directory)
    found |= {
        "pid": pid,
        "takeover": {
            "on": takeover.is_on,
            "hosts": takeover.taken,
            "not_switched": sorted(takeover.pending),
        },
        "backend": f"{settings.host}:{settings.port}",
        "has_database": bool(settings.database),
    }
    if as_json:
        terminal.print_json(found)
        return
    terminal.print_fields(_list_status(directory, found, takeover))
    for each in found.get("problems") or []:
        when = times.format_time(each["at_ms"])
        terminal.print_message(f"{when}: {each['subject']}: {each['sentence']}")


def _list_status(directory: BridgeDir, found: Json, takeover: Takeover) -> list[tuple[str, str]]:
    """Return the lines of `mythtv status`, as label and text."""
    from mythjobs.mythtv.bridge.takeover import describe_takeover
    from mythjobs.mythtv.rules import IMPORT_ORIGIN
    from mythjobs.mythtv.settings import load_rules

    pid = found["pid"]
    rows = [("bridge", f"running (pid {pid})" if pid else "not running; start `mythjobs up`")]
    rows.append(("backend", found["backend"]))
    if pid:
        rows.append(("system events", _describe_monitor(found, 3)))
        rows.append(("other events", _describe_monitor(found, 2)))
    rows.append(("takeover", describe_takeover(takeover)))
    rows.append(("database", "yes" if found["has_database"] else _NO_DATABASE))
    if table := found.get("table"):
        rows.append(("MythTV's queue", str(table)))
    imported = sum(each.origin == IMPORT_ORIGIN for each in load_rules(directory))
    if imported and not takeover.is_on:
        text = f"{imported} rest while MythTV runs these jobs itself; see `mythtv takeover on`"
        rows.append(("imported rules", text))
    if last := found.get("last_recording"):
        when = times.format_time(last["at_ms"])
        jobs = "1 job" if last["jobs"] == 1 else f"{last['jobs']} jobs"
        rows.append(("last recording", f"{last['title']}, {when}: {jobs}"))
    if pid:
        counts = f"{found.get('submitted', 0)} by rules, {found.get('rows', 0)} of MythTV's queue"
        rows.append(("jobs made", f"{counts}, since the start"))
    return rows


def _find_bridge(directory: BridgeDir) -> int:
    """Return the pid of the running bridge, 0 if none runs."""
    from mythjobs.config.locks import read_holder_pid, try_acquire

    lock = try_acquire(directory.lock)
    if lock is None:
        return read_holder_pid(directory.lock) or 0
    lock.close()
    return 0


def _describe_monitor(found: Json, mode: int) -> str:
    return str(found.get(f"monitor_{mode}") or "connecting")


@command("on")
@json_option
@pass_session
def takeover_on(session: Session, as_json: bool) -> None:
    """Switch off MythTV's own queues, and run their jobs here.

    The setting JobQueueMaxSimultaneousJobs of each of MythTV's hosts becomes 0; the previous values
    are kept. Jobs that MythTV runs already continue there. Jobs queued from MythTV's screens become
    jobs of this queue; state and comment are shown there, and delete, pause, resume and stop work.
    """
    from mythjobs.mythtv.bridge.takeover import switch_on
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import bridge_dir, require_settings

    directory = bridge_dir(session.root)
    settings = require_settings(directory)
    with open_services(settings) as services:
        _print_hosts(switch_on(directory, services), as_json)
    if not settings.database:
        terminal.print_message(
            "without a database jobs are removed from MythTV's queue when they are taken, so its "
            "screens do not show them; `mythjobs mythtv setup --pin PIN` changes that"
        )
    if not _find_bridge(directory):
        terminal.print_message(
            "the bridge does not run, so MythTV's jobs wait; start `mythjobs up`"
        )
    if not settings.commands:
        terminal.print_message(
            "no command is known for MythTV's jobs, so they will fail; run `mythjobs mythtv import`"
        )


@command("off")
@json_option
@pass_session
def takeover_off(session: Session, as_json: bool) -> None:
    """Let MythTV's own queues run their jobs again, as before.

    Jobs of MythTV's queue that run here continue; those that wait are given back. A setting that
    was changed meanwhile is left alone.
    """
    from mythjobs.mythtv.bridge.takeover import switch_off
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import bridge_dir, require_settings

    directory = bridge_dir(session.root)
    with open_services(require_settings(directory)) as services:
        done = switch_off(directory, services)
    _print_hosts(done, as_json)
    if not done:
        terminal.print_message("the takeover was off")


@command("status")
@json_option
@pass_session
def takeover_status(session: Session, as_json: bool) -> None:
    """Show for each of MythTV's hosts whether its own queue runs jobs."""
    from mythjobs.mythtv.bridge.takeover import describe_takeover, load_takeover, read_hosts
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import bridge_dir, require_settings

    directory = bridge_dir(session.root)
    with open_services(require_settings(directory)) as services:
        hosts = read_hosts(directory, services)
    takeover = load_takeover(directory)
    if as_json:
        pending = sorted(takeover.pending)
        terminal.print_json({"on": takeover.is_on, "not_switched": pending, "hosts": hosts})
        return
    terminal.print_line(f"the takeover is {describe_takeover(takeover)}")
    _print_hosts(hosts, as_json)


def _print_hosts(hosts: dict[str, str], as_json: bool) -> None:
    if as_json:
        terminal.print_json(hosts)
    else:
        terminal.print_table(("host", "queue"), sorted(hosts.items()))


takeover_group = click.Group(
    "takeover",
    commands=[takeover_on, takeover_off, takeover_status],
    no_args_is_help=True,
    help="Run the jobs of MythTV's own queue here, or let MythTV run them again.",
)
