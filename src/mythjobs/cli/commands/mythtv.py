"""`mythjobs mythtv`: bridge to MythTV, import of its set-up, changes to its recordings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli.session import LazyGroup

if TYPE_CHECKING:
    from mythjobs.mythtv.database.connection import MythDatabase
    from mythjobs.mythtv.settings import BridgeSettings

_SECTIONS: Final = {
    "Set-up": {
        "setup": "mythjobs.cli.commands.mythtv_bridge:setup",
        "import": "mythjobs.cli.commands.mythtv_import:import_",
    },
    "Bridge": {
        "status": "mythjobs.cli.commands.mythtv_bridge:status",
        "rules": "mythjobs.cli.commands.mythtv_rules:rules_group",
        "takeover": "mythjobs.cli.commands.mythtv_bridge:takeover_group",
        "bridge": "mythjobs.cli.commands.mythtv_bridge:bridge",
    },
    "Recordings": {
        "fetch": "mythjobs.cli.commands.mythtv_fetch:fetch",
        "set-skiplist": "mythjobs.cli.commands.mythtv_write_back:set_skiplist",
        "clear-skiplist": "mythjobs.cli.commands.mythtv_write_back:clear_skiplist",
        "set-cutlist": "mythjobs.cli.commands.mythtv_write_back:set_cutlist",
        "commflagged": "mythjobs.cli.commands.mythtv_write_back:commflagged",
        "wait-while-played": "mythjobs.cli.commands.mythtv_write_back:wait_while_played",
        "replace": "mythjobs.cli.commands.mythtv_write_back:replace",
        "undo": "mythjobs.cli.commands.mythtv_write_back:undo",
    },
}


def database_options(function: Any) -> Any:
    """Add the options that name MythTV's database."""
    config = click.option(
        "--config", metavar="FILE", default="",
        help="MythTV's config.xml. Default: that of this user or machine.",
    )  # fmt: skip
    database = click.option(
        "--database", metavar="URL", default="",
        help="The database, like mysql://mythtv@box/mythconverg. A URL with a password belongs "
        "into MYTHJOBS_MYTHTV_DATABASE, which other users cannot read.",
    )  # fmt: skip
    return config(database(function))


def open_database(config: str, url: str) -> MythDatabase:
    """Return MythTV's database: the one that the options or the environment name, that of the
    bridge on this machine, or that of MythTV's config.xml. Raises BadRequest, ConfigError."""
    from mythjobs.mythtv.database.address import ENVIRONMENT, find_address, parse_url
    from mythjobs.mythtv.database.connection import MythDatabase

    settings = None
    if not (config or url or os.environ.get(ENVIRONMENT)):
        settings = find_bridge_settings(None)
    if settings is not None and settings.database:
        return MythDatabase(parse_url(settings.database, "the bridge's settings.toml"))
    return MythDatabase(find_address(os.environ, config=config, url=url))


def find_bridge_settings(state_dir: str | None) -> BridgeSettings | None:
    """Return the settings of the bridge in the state directory; None if no bridge is set up.

    Jobs do not know the state directory of the master, so for them it is the default one.
    """
    from mythjobs.cli.connect import find_root
    from mythjobs.mythtv.settings import bridge_dir, load_settings

    return load_settings(bridge_dir(find_root(state_dir)))


mythtv_group = LazyGroup(
    "mythtv",
    sections=_SECTIONS,
    no_args_is_help=True,
    help="Run the jobs of a MythTV backend here: connect to it, import its set-up, choose jobs for "
    "its recordings, take over its queue.",
)
