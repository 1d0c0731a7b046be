"""`mythjobs mythtv rules`: which recordings of MythTV get which jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, DURATION, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.errors import BadRequest, DefinitionError

if TYPE_CHECKING:
    from mythjobs.mythtv.recording import Recording
    from mythjobs.mythtv.rules import RecordingRule
    from mythjobs.mythtv.services.client import Services
    from mythjobs.mythtv.settings import BridgeDir, BridgeSettings

_ADD: Final = """Examples:
  mythjobs mythtv rules add flag --command mythcommflag
  mythjobs mythtv rules add news --command transcode-h264 --title "News*" --min-duration 10m"""
_name = click.argument("name", type=TEXT)
_recording = click.argument("recordedid", type=IntegerType(min=1))


@command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the rules."""
    from mythjobs.mythtv.rules import describe_rule
    from mythjobs.mythtv.settings import load_rules

    rules = load_rules(_directory(session))
    if as_json:
        terminal.print_json([describe_rule(each) for each in rules])
        return
    rows = [
        (each.name, "yes" if each.is_enabled else "no", each.command, each.when, _conditions(each))
        for each in rules
    ]
    terminal.print_table(("rule", "on", "command", "when", "conditions"), rows)


@command("add", epilog=_ADD)
@_name
@click.option("--command", "command_name", type=COMMAND, required=True, help="Command of the jobs.")
@click.option(
    "--when",
    type=click.Choice(("finished", "started")),
    default="finished",
    help="Make the job at the start of the recording, or (default) when it has finished.",
)
@click.option(
    "--recording-rule",
    "recording_rules",
    type=IntegerType(),
    multiple=True,
    help="Only recordings of this recording rule (its id).",
)
@click.option(
    "--title",
    "titles",
    type=TEXT,
    multiple=True,
    help="Only recordings with this title; * stands for any text.",
)
@click.option(
    "--channel",
    "channels",
    type=TEXT,
    multiple=True,
    help="Only recordings of this channel: its id, number or call sign.",
)
@click.option("--group", "groups", type=TEXT, multiple=True, help="Only this recording group.")
@click.option("--min-size", type=TEXT, help="Only files of at least this size, like 100MB.")
@click.option("--max-size", type=TEXT, help="Only files of at most this size.")
@click.option("--min-duration", type=DURATION, help="Only recordings of at least this length.")
@click.option("--max-duration", type=DURATION, help="Only recordings of at most this length.")
@click.option(
    "--include",
    type=click.Choice(("livetv", "failed", "tiny", "short")),
    multiple=True,
    help="Also Live TV, failed recordings, files below 1000 bytes, or recordings below "
    "2 minutes, which are left out otherwise, as MythTV does.",
)
@click.option(
    "--no-commercial-free",
    is_flag=True,
    help="Leave out channels that MythTV knows as free of commercials.",
)
@click.option("--priority", type=IntegerType(-100, 100), default=0, help="Priority of the jobs.")
@click.option(
    "--param",
    "parameters",
    type=TEXT,
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the jobs; parameters named like MythTV's tokens get their value "
    "by themselves.",
)
@click.option("--replace", is_flag=True, help="Replace the rule with this name.")
@json_option
@pass_session
def add(
    session: Session,
    /,
    name: str,
    command_name: str,
    replace: bool,
    as_json: bool,
    parameters: tuple[str, ...],
    no_commercial_free: bool,
    min_size: str | None,
    max_size: str | None,
    min_duration: float | None,
    max_duration: float | None,
    **given: Any,
) -> None:
    """Add a rule. The running bridge uses it from the next recording on."""
    import tomlkit

    from mythjobs.model.units import format_duration
    from mythjobs.mythtv.rules import describe_rule, parse_rules
    from mythjobs.mythtv.rules_file import add_rule

    table: dict[str, object] = {
        "name": name, "command": command_name, "min_size": min_size, "max_size": max_size,
        "min_duration": format_duration(min_duration),
        "max_duration": format_duration(max_duration),
        "commercial_free": not no_commercial_free, "arguments": _parse_arguments(parameters),
    }  # fmt: skip
    table |= {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}
    known = {key: value for key, value in table.items() if value is not None}
    try:
        [rule] = parse_rules(tomlkit.dumps({"rules": [known]}))
    except DefinitionError as error:
        # The key of a file stands for the option.
        raise BadRequest(error.sentence.removeprefix("rules[1].")) from None
    _change(session, lambda text: add_rule(text, rule, replace=replace))
    if as_json:
        terminal.print_json(describe_rule(rule))
    else:
        terminal.print_line(f"rule {name}: {_conditions(rule) or 'all recordings'}")


@command("remove")
@_name
@json_option
@pass_session
def remove(session: Session, name: str, as_json: bool) -> None:
    """Remove a rule. Its jobs stay."""
    from mythjobs.mythtv.rules_file import remove_rule

    before, _ = _change(session, lambda text: remove_rule(text, name))
    if as_json:
        _print_rule(before, name)


@command("enable")
@_name
@json_option
@pass_session
def enable(session: Session, name: str, as_json: bool) -> None:
    """Switch a rule on."""
    _enable(session, name, True, as_json)


@command("disable")
@_name
@json_option
@pass_session
def disable(session: Session, name: str, as_json: bool) -> None:
    """Switch a rule off, and keep it."""
    _enable(session, name, False, as_json)


def _enable(session: Session, name: str, is_enabled: bool, as_json: bool) -> None:
    from mythjobs.mythtv.rules_file import enable_rule

    _, after = _change(session, lambda text: enable_rule(text, name, is_enabled))
    if as_json:
        _print_rule(after, name)


def _print_rule(rules: list[RecordingRule], name: str) -> None:
    from mythjobs.mythtv.rules import describe_rule

    [found] = [each for each in rules if each.name == name]
    terminal.print_json(describe_rule(found))


@command("test")
@_recording
@json_option
@pass_session
def test(session: Session, recordedid: int, as_json: bool) -> None:
    """Show which rules match a recording, and why others do not.

    RECORDEDID is the recording's id, as MythTV's web app shows it.
    """
    from mythjobs.mythtv.rules import explain_mismatch
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import load_rules

    directory, settings = _require(session)
    rules = load_rules(directory)
    with open_services(settings) as services:
        recording = _find(services, recordedid)
    found = {each.name: explain_mismatch(each, recording, each.when) for each in rules}
    if as_json:
        terminal.print_json({"title": recording.title, "rules": found})
        return
    terminal.print_line(f"{recording.title} ({recording.key})")
    rows = [(name, "no" if why else "yes", why) for name, why in found.items()]
    terminal.print_table(("rule", "match", "why not"), rows)


@command("apply")
@_recording
@click.argument("rules", nargs=-1, type=TEXT, metavar="[RULE]…")
@json_option
@pass_session
def apply(session: Session, recordedid: int, rules: tuple[str, ...], as_json: bool) -> None:
    """Make the jobs of a recording now: those of the rules that match it, or of the named rules.

    A job that a rule has already made for the recording is not made again.
    """
    from mythjobs.mythtv.bridge.job_request import JobRequests
    from mythjobs.mythtv.bridge.recordings_loop import submit_for_rule
    from mythjobs.mythtv.bridge.watch import SubmitRecording
    from mythjobs.mythtv.rules import explain_mismatch
    from mythjobs.mythtv.services.client import open_services
    from mythjobs.mythtv.settings import load_rules

    directory, settings = _require(session)
    known = {each.name: each for each in load_rules(directory)}
    for each in rules:
        if each not in known:
            raise BadRequest(f'there is no rule "{each}"; see `mythjobs mythtv rules list`')
    done = []
    with open_services(settings) as services, _open_database(settings) as database:
        recording = _find(services, recordedid)
        requests = JobRequests(settings, services, session.client, database)
        for name, rule in known.items():
            if name in rules or (not rules and not explain_mismatch(rule, recording, rule.when)):
                key = SubmitRecording(recording, rule).key
                done.append({"rule": name} | submit_for_rule(requests, recording, rule, key))
    if as_json:
        terminal.print_json(done)
        return
    for found in done:
        text = f"queued by rule {found['rule']}" if found["new"] else "was made before"
        terminal.print_line(f"job {found['id']} {text}")
    if not done:
        terminal.print_message("no rule matches; `mythjobs mythtv rules test` says why")


def _directory(session: Session) -> BridgeDir:
    from mythjobs.mythtv.settings import bridge_dir

    return bridge_dir(session.root)


def _require(session: Session) -> tuple[BridgeDir, BridgeSettings]:
    from mythjobs.mythtv.settings import require_settings

    directory = _directory(session)
    return directory, require_settings(directory)


def _open_database(settings: BridgeSettings) -> Any:
    """Return the database as a context manager, of None without one."""
    from contextlib import nullcontext

    from mythjobs.mythtv.database.address import parse_url
    from mythjobs.mythtv.database.connection import MythDatabase

    if not settings.database:
        return nullcontext()
    return MythDatabase(parse_url(settings.database, "settings.toml"))


def _find(services: Services, recordedid: int) -> Recording:
    recording = services.find_recording(recordedid)
    if recording is None:
        raise BadRequest(f"MythTV has no recording {recordedid}")
    return recording


def _change(
    session: Session, change: Callable[[str], str]
) -> tuple[list[RecordingRule], list[RecordingRule]]:
    """Change the text of the rules' file; an invalid result is not stored. Return the rules before
    and after."""
    from mythjobs.config.files import replace_file
    from mythjobs.mythtv.rules import parse_rules
    from mythjobs.mythtv.settings import load_rules, read_rules_text

    directory = _directory(session)
    before = load_rules(directory)  # first: the cause is the file, if that is invalid already
    changed = change(read_rules_text(directory))
    after = parse_rules(changed)
    directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(directory.rules, changed.encode())
    return before, after


def _parse_arguments(parameters: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in parameters:
        name, equals, value = each.partition("=")
        if not equals:
            raise BadRequest(f'--param "{each}" must be like NAME=VALUE')
        found[name] = value
    return found


def _conditions(rule: RecordingRule) -> str:
    """Return the rule's conditions in one line, in the syntax of its file."""
    from mythjobs.mythtv.rules import describe_rule

    shown = ("name", "command", "when", "enabled", "origin")
    parts = []
    for key, value in describe_rule(rule).items():
        if key not in shown:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(f"{key}: {text}")
    return "; ".join(parts)


rules_group = click.Group(
    "rules",
    commands=[list_, add, remove, enable, disable, test, apply],
    no_args_is_help=True,
    help="Choose which recordings get which jobs. The rules are in mythtv/rules.toml in the state "
    "directory, which may be edited.",
)
