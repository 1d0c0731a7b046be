"""Error classes of mythjobs, grouped by the side that caused the error."""

from __future__ import annotations

import os
from typing import ClassVar


class MythJobsError(Exception):
    """Base class. `sentence` tells the user what failed, why, and what to do.

    code: stable identifier for programs (API errors, `--json`). http: status of the API
    response. exit_code: exit code of the CLI (sysexits.h).
    """

    code: ClassVar[str] = "error"
    http: ClassVar[int] = 500
    exit_code: ClassVar[int] = os.EX_SOFTWARE

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


# Errors of the request.


class BadRequest(MythJobsError):
    """The request is invalid."""

    code = "bad_request"
    http = 400
    exit_code = 2


class DefinitionError(BadRequest):
    """A command's definition is invalid; `key` is the dotted key (`limits.wall`) or ""."""

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


def command_not_found(name: str) -> NoSuchCommand:
    return NoSuchCommand(f'there is no command "{name}"; see `mythjobs command list`')


def machine_not_found(name: str) -> NoSuchMachine:
    return NoSuchMachine(f'there is no machine "{name}"; see `mythjobs machines`')


class Conflict(BadRequest):
    """The request conflicts with the current state: a name in use, a job that has ended."""

    code = "conflict"
    http = 409


class NotAllowed(MythJobsError):
    """The client is not authorized: missing or wrong token, or another user on the socket."""

    code = "not_allowed"
    http = 401
    exit_code = os.EX_NOPERM


# Errors of the configuration, or of the machine that runs the program.


class ConfigError(MythJobsError):
    """The configuration is invalid, or a newer version wrote the store."""

    code = "configuration"
    exit_code = os.EX_CONFIG


class StateNotWritable(MythJobsError):
    """The state directory cannot be created or written."""

    code = "state_not_writable"
    exit_code = os.EX_CANTCREAT


class StoreFailed(MythJobsError):
    """The store's disk failed. Nothing was acknowledged; the master exits."""

    code = "store_failed"
    exit_code = os.EX_IOERR


class StoreFull(MythJobsError):
    """The store's disk is full. New jobs are rejected; running jobs finish."""

    code = "store_full"
    http = 507
    exit_code = os.EX_IOERR


# Errors of the peer.


class ProtocolError(MythJobsError):
    """The peer violated the protocol. Closes the connection, never the program."""

    code = "protocol"
    http = 400
    exit_code = os.EX_PROTOCOL


# Temporary conditions.


class Unreachable(MythJobsError):
    """The program is not running, or the machine cannot be reached."""

    code = "unreachable"
    http = 503
    exit_code = os.EX_UNAVAILABLE


class StoreUnavailable(Unreachable):
    """The database cannot be reached; the turn was rolled back."""

    code = "store_away"


class AlreadyRunning(MythJobsError):
    """Another program uses the port or the state directory."""

    code = "taken"
    http = 503
    exit_code = os.EX_TEMPFAIL
