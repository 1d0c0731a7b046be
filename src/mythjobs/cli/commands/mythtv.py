"""`mythjobs mythtv`: bridge to MythTV, import of its set-up, changes to its recordings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli.session import LazyGroup

if TYPE_CHECKING:
    from mythjobs.mythtv.database.connection import MythDatabase

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
    """Return MythTV's database as the options name it. Raises BadRequest, ConfigError."""
    from mythjobs.mythtv.database.address import find_address
    from mythjobs.mythtv.database.connection import MythDatabase

    return MythDatabase(find_address(os.environ, config=config, url=url))


mythtv_group = LazyGroup(
    "mythtv",
    sections=_SECTIONS,
    no_args_is_help=True,
    help="Run the jobs of a MythTV backend here: connect to it, import its set-up, choose jobs for "
    "its recordings, take over its queue.",
)
