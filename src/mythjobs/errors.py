"""Error classes, grouped by cause: request, configuration, peer, temporary condition."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import ClassVar


class MythJobsError(Exception):
    """Base class of all errors. `sentence` tells the user what failed, why, and what to do.

    code: stable identifier for programs (API errors, `--json`). http: status of the API
    response. exit_code: exit code of the CLI (sysexits.h).
    """

    code: ClassVar[str] = "error"
    http: ClassVar[int] = 500
    exit_code: ClassVar[int] = os.EX_SOFTWARE

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


# Errors that a client's request caused.


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


class NoSuchChannel(BadRequest):
    code = "no_such_channel"
    http = 404


class NoSuchSemaphore(BadRequest):
    code = "no_such_semaphore"
    http = 404


class NoSuchSchedule(BadRequest):
    code = "no_such_schedule"
    http = 404


class NoSuchJoinRequest(BadRequest):
    code = "no_such_join_request"
    http = 404


def command_not_found(name: str, known: Iterable[str] = ()) -> NoSuchCommand:
    """Return the error for an unknown command. known: names of which it suggests similar ones."""
    similar = suggest_names(name, known)
    return NoSuchCommand(f'there is no command "{name}"{similar}; see `mythjobs command list`')


def machine_not_found(name: str, known: Iterable[str] = ()) -> NoSuchMachine:
    """Return the error for an unknown machine. known: names of which it suggests similar ones."""
    similar = suggest_names(name, known)
    return NoSuchMachine(f'there is no machine "{name}"{similar}; see `mythjobs machines`')


def suggest_names(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "attic"?)` with the known names that are most similar, or ""."""
    from difflib import get_close_matches  # only after a mistake

    by_folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_folded, n=3)
    names = " or ".join(f'"{by_folded[each]}"' for each in close)
    return f" (did you mean {names}?)" if names else ""


def schedule_not_found(name: str) -> NoSuchSchedule:
    return NoSuchSchedule(f'there is no schedule "{name}"; see `mythjobs schedules`')


class Conflict(BadRequest):
    """The request conflicts with the current state: a name in use, a job that has ended."""

    code = "conflict"
    http = 409


class NotAllowed(MythJobsError):
    """The client is not authorized: wrong token, or a socket client of another user."""

    code = "not_allowed"
    http = 401
    exit_code = os.EX_NOPERM


# Errors of the configuration, or of the machine that runs the program.


class ConfigError(MythJobsError):
    """The configuration is invalid, or a newer version of mythjobs has written the store."""

    code = "configuration"
    exit_code = os.EX_CONFIG


class StateNotWritable(MythJobsError):
    """The state directory cannot be created or written."""

    code = "state_not_writable"
    exit_code = os.EX_CANTCREAT


class StoreFailed(MythJobsError):
    """A disk write of the store or a journal failed. The changes were not acknowledged to anyone;
    the program exits."""

    code = "store_failed"
    exit_code = os.EX_IOERR


class StoreFull(MythJobsError):
    """The store's disk is full. New jobs are rejected; running jobs finish."""

    code = "store_full"
    http = 507
    exit_code = os.EX_IOERR


# Errors that the program at the other end of a connection caused.


class ProtocolError(MythJobsError):
    """The peer violated the protocol. The connection is closed; this program continues."""

    code = "protocol"
    http = 400
    exit_code = os.EX_PROTOCOL


# Temporary errors: the same request may succeed later.


class Unreachable(MythJobsError):
    """The program to connect to is not running, or its machine cannot be reached."""

    code = "unreachable"
    http = 503
    exit_code = os.EX_UNAVAILABLE


class StoreUnavailable(Unreachable):
    """The PostgreSQL server cannot be reached; the master's transaction was rolled back."""

    code = "store_away"


class AlreadyRunning(MythJobsError):
    """Another program uses the port, the state directory or the machine's key."""

    code = "taken"
    http = 503
    exit_code = os.EX_TEMPFAIL
