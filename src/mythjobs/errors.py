"""Every error this program raises on purpose; the class says whose fault it was."""

from __future__ import annotations

import os
from typing import ClassVar


class MythJobsError(Exception):
    """One sentence for a person: what is wrong, and what would be right.

    `code` is the stable word that programs read (HTTP answers, `--json`), `http` the status
    the API answers with, `exit_code` what the command line exits with (sysexits.h).
    """

    code: ClassVar[str] = "error"
    http: ClassVar[int] = 500
    exit_code: ClassVar[int] = os.EX_SOFTWARE

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


# The asker's.


class BadRequest(MythJobsError):
    """The request cannot be carried out as it was made."""

    code = "bad_request"
    http = 400
    exit_code = 2


class DefinitionError(BadRequest):
    """A command's definition is wrong; `key` is where, dotted (`limits.wall`)."""

    code = "bad_definition"

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(f"{key}: {sentence}" if key else sentence)
        self.key = key


class NoSuchJob(BadRequest):
    code = "no_such_job"
    http = 404


class NoSuchCommand(BadRequest):
    code = "no_such_command"
    http = 404


class NoSuchMachine(BadRequest):
    code = "no_such_machine"
    http = 404


def no_such_command(name: str) -> NoSuchCommand:
    return NoSuchCommand(f'there is no command "{name}"; see `mythjobs command list`')


def no_such_machine(name: str) -> NoSuchMachine:
    return NoSuchMachine(f'there is no machine "{name}"; see `mythjobs machines`')


class Conflict(BadRequest):
    """What was asked for does not fit what is there: a name that is taken, a job that is over."""

    code = "conflict"
    http = 409


class NotAllowed(MythJobsError):
    """Who asks may not: no token, a wrong one, another user on the socket."""

    code = "not_allowed"
    http = 401
    exit_code = os.EX_NOPERM


# The configuration's, and the machine's that it runs on.


class ConfigError(MythJobsError):
    """Our own configuration, or a store that a newer version wrote."""

    code = "configuration"
    exit_code = os.EX_CONFIG


class StateNotWritable(MythJobsError):
    """The state directory cannot be made or written."""

    code = "state_not_writable"
    exit_code = os.EX_CANTCREAT


class StoreFailed(MythJobsError):
    """The disk under the store failed; nothing was acknowledged, and the master ends."""

    code = "store_failed"
    http = 500
    exit_code = os.EX_IOERR


class StoreFull(MythJobsError):
    """The disk under the store is full: nothing new is taken in, what runs is finished."""

    code = "store_full"
    http = 507
    exit_code = os.EX_IOERR


# The peer's.


class ProtocolError(MythJobsError):
    """The other side broke the protocol; closes that connection, never the program."""

    code = "protocol"
    http = 400
    exit_code = os.EX_PROTOCOL


# The moment's.


class Unreachable(MythJobsError):
    """Nothing runs where it should be, or a machine cannot be reached."""

    code = "unreachable"
    http = 503
    exit_code = os.EX_UNAVAILABLE


class StoreAway(Unreachable):
    """The database cannot be reached; nothing of the turn was committed."""

    code = "store_away"


class Taken(MythJobsError):
    """The port or the state directory is in use by another program."""

    code = "taken"
    http = 503
    exit_code = os.EX_TEMPFAIL
