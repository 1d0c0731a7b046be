"""`mythjobs agent`: start the agent of this machine, and join a master on the network."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import click

from mythjobs.cli import quick_agent, terminal
from mythjobs.cli.commands.services import (
    jobs_option,
    log_format_option,
    no_scaling_option,
)
from mythjobs.cli.options import NEW_MACHINE, TEXT
from mythjobs.cli.session import Session, command, json_option, pass_session, state_dir_option
from mythjobs.errors import Unreachable

_JOIN_EXAMPLES: Final = """Examples:
  mythjobs agent join                  (list the masters on this network)
  mythjobs agent join mj1.…            (the line of `mythjobs machine invite`)
  mythjobs agent join attic.local      (then `mythjobs machine approve` on attic)"""
_POLL_S: Final = 1.0
_SEARCH_S: Final = 3.0


@click.group(
    "agent",
    invoke_without_command=True,
    params=[state_dir_option(hidden=True)],
    epilog="Example: mythjobs agent --jobs 2",
)
@click.option("--name", type=NEW_MACHINE, help="Name of this machine. Default: its host name.")
@jobs_option
@no_scaling_option
@log_format_option
@click.option("--stop-jobs", is_flag=True, help="At exit, also end running jobs.")
@pass_session
@click.pass_context
def agent(
    context: click.Context,
    session: Session,
    name: str | None,
    jobs: int | None,
    no_scaling: bool,
    stop_jobs: bool,
) -> None:
    """Start only the agent, which runs jobs on this machine.

    Its master is the one of the same state directory, or the one that this machine has joined.
    """
    if context.invoked_subcommand is not None:
        if name is not None or jobs is not None or stop_jobs or no_scaling:
            raise click.UsageError(
                "options of `mythjobs agent` apply when it starts the agent; put those of "
                f"`{context.invoked_subcommand}` after its name"
            )
        return
    # Only for command lines that quick_agent.py does not parse, such as --name.
    quick_agent.run(quick_agent.AgentOptions(session.state_dir, jobs, no_scaling, stop_jobs, name))


@command("join", epilog=_JOIN_EXAMPLES)
@click.argument("master", metavar="[TOKEN|HOST[:PORT]]", type=TEXT, required=False)
@click.option("--name", type=NEW_MACHINE, help="Name of this machine. Default: its host name.")
@pass_session
def join(session: Session, master: str | None, name: str | None) -> None:
    """Make this machine run jobs of a master on the network.

    With a token of `mythjobs machine invite` it joins at once. With the address of a master it
    shows six words, and joins when the master's owner has compared and approved them. Without
    either it lists the masters that announce themselves.
    """
    import socket

    from mythjobs.agent import joining
    from mythjobs.config import locks
    from mythjobs.config.state import open_state
    from mythjobs.protocol.joining import is_token, parse_endpoint, parse_token

    if master is None:
        _list_masters()
        return
    own_name = name or socket.gethostname()
    token = parse_token(master) if is_token(master) else None
    endpoint = None if token else parse_endpoint(master)
    state = open_state(session.state_dir)
    if token is not None:
        joined = joining.join_with_token(state, token, own_name)
    else:
        assert endpoint is not None
        joined = joining.join_with_code(
            state, endpoint, own_name, _show_code, lambda: time.sleep(_POLL_S)
        )
    terminal.print_line(f"joined the master at {joined.endpoint} as {joined.name}")
    if not joined.is_new:
        terminal.print_message(
            "this machine had joined before: it keeps the name and the rights that it has there"
        )
    lock = locks.try_acquire(state.agent.lock)
    if lock is None:
        terminal.print_line("the agent that runs here connects by itself")
    else:
        lock.close()
        terminal.print_line("start the agent with `mythjobs agent`")


def _list_masters() -> None:
    from mythjobs.agent.discovery import find_masters

    terminal.print_message(f"looking for masters for {_SEARCH_S:g} s …")
    found = find_masters(_SEARCH_S)
    if not found:
        raise Unreachable(
            "no master announces itself on this network; run `mythjobs lan on` on the master's "
            "machine, or name its address: `mythjobs agent join HOST`"
        )
    rows = [(each.name, ", ".join(map(str, each.endpoints))) for each in found]
    terminal.print_table(("master", "addresses"), rows)
    terminal.print_message("join one with `mythjobs agent join ADDRESS`")


def _show_code(code: tuple[str, ...]) -> None:
    terminal.print_line_now(f"the words of this machine: {' '.join(code)}")
    terminal.print_message(
        "run `mythjobs machine approve` on the master's machine and compare them; waiting …"
    )


@command("policy", epilog="Example:\n  mythjobs agent policy")
@json_option
@pass_session
def policy(session: Session, as_json: bool) -> None:
    """Check this machine's own policy file, and show what it allows.

    The file limits what any master may run here: commands, number of jobs, limits, run windows, and
    the users that may run jobs. The agent reads it when it starts.
    """
    import pwd

    from mythjobs.cli.files.toml_text import format_toml
    from mythjobs.config.own_policy import check_user, read_own_policy
    from mythjobs.config.state import open_state
    from mythjobs.model.own_policy import own_policy_to_table

    path = open_state(session.state_dir, create=False).agent.policy
    own = read_own_policy(path)
    check_user(own, path, pwd.getpwuid(os.getuid()).pw_name)
    found = own_policy_to_table(own)
    if as_json:
        terminal.print_json({"path": str(path), "exists": path.exists(), "policy": found})
    elif not path.exists():
        terminal.print_line(f"# there is no file {path}: this machine does not limit its master")
    else:
        terminal.print_line(f"# {path}; the agent reads it when it starts")
        print(format_toml(found) if found else "# it limits nothing\n", end="")


@command(
    "install-service", epilog="Example:\n  sudo mythjobs agent install-service --run-as mythtv"
)
@click.option(
    "--run-as",
    type=TEXT,
    metavar="USER",
    help="User of the agent and its jobs; only as root. Default: owner of the state directory.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the unit; change nothing.")
@pass_session
def install_service(session: Session, run_as: str | None, only_print: bool) -> None:
    """Start the agent now and at every boot, with systemd.

    As root this writes a unit of the system, otherwise one of this user. Running jobs go on while
    the service restarts.
    """
    from mythjobs.config import systemd_unit
    from mythjobs.config.state import lookup_user_name, open_state

    is_system = os.geteuid() == 0
    if run_as is not None and not is_system:
        raise click.UsageError("--run-as needs root; without it the agent runs as this user")
    state = open_state(session.state_dir, create=not is_system)
    user = ""
    if is_system:
        user = run_as or lookup_user_name(_find_owner(str(state.root)))
    argv = [*systemd_unit.find_own_program(sys.argv[0]), "--state-dir", str(state.root), "agent"]
    unit = systemd_unit.make_unit(argv, user=user, is_system=is_system)
    if only_print:
        print(unit, end="")
        return
    path = systemd_unit.find_unit_path(is_system, os.environ)
    systemd_unit.install(path, unit, is_system=is_system)
    terminal.print_line(f"{systemd_unit.UNIT_NAME} runs and starts at every boot ({path})")
    if not is_system:
        terminal.print_message("`loginctl enable-linger` lets it run while you are not logged in")


def _find_owner(root: str) -> int:
    """Return the uid of a state directory's owner, root's if there is none yet."""
    try:
        return os.stat(root).st_uid
    except FileNotFoundError:
        return 0


agent.add_command(join)
agent.add_command(policy)
agent.add_command(install_service)
