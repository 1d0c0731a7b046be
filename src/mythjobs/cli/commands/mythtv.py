"""`mythjobs mythtv`: import of MythTV's set-up, and changes to its recordings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli.session import LazyGroup

if TYPE_CHECKING:
    from mythjobs.mythtv.database.connection import MythDatabase

_SECTIONS: Final = {
    "Set-up": {
        "import": "mythjobs.cli.commands.mythtv_import:import_",
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
    help="Run MythTV's jobs: import its set-up, and write results to its recordings.",
)
