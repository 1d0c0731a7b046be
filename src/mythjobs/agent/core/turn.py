"""What one turn of the core gathers, so that each journal and each reaper is written once."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mythjobs.agent.core.attempt import Attempt, Key, Output
from mythjobs.agent.core.lease_terms import to_json
from mythjobs.protocol import messages as m

Json = dict[str, object]


class Journal(NamedTuple):
    """Write this record, before any reaper is told more; once it is durable, call
    `journalled(token)`."""

    record: Json
    token: int


class Tell(NamedTuple):
    """Send these messages to this reaper, in this order."""

    reaper: str
    messages: list[Json]


class Follow(NamedTuple):
    """This attempt has new output, or is over: read its progress, send what is followed."""

    attempt: Attempt


class Transfer(NamedTuple):
    """The master's word about a transfer of output."""

    message: m.OutputFetch | m.OutputCredit | m.OutputStop


class Drop(NamedTuple):
    """The master has the output of this attempt: delete what is kept here."""

    key: Key
    output: Output


class Bury(NamedTuple):
    """All that this dead reaper's journal tells is acknowledged: remove its directory."""

    reaper: str


Action = Journal | Tell | Follow | Transfer | Drop | Bury


class Pending(NamedTuple):
    """What may go on once the record of this token is durable."""

    token: int
    never: list[Attempt]
    connection: int
    seen: int


class Turn:
    """Gathers until `take`; of a journal record, also what waits for it to be durable."""

    def __init__(self) -> None:
        self.connection = 0
        self._actions: list[Action] = []
        self._told: dict[str, list[Json]] = {}
        self._acks: dict[str, list[Key]] = {}
        self._granted: list[Attempt] = []
        self._never: list[Attempt] = []
        self._over: list[Key] = []
        self._renewed: list[Attempt] = []
        self._rehoured: list[Attempt] = []
        self._seen = 0
        self._token = 0
        self._pending: deque[Pending] = deque()

    def do(self, action: Action) -> None:
        self._actions.append(action)

    def tell(self, reaper: str, message: Json) -> None:
        self._told.setdefault(reaper, []).append(message)

    def acknowledge(self, reaper: str, key: Key) -> None:
        self._acks.setdefault(reaper, []).append(key)

    def granted(self, attempt: Attempt) -> None:
        self._granted.append(attempt)

    def saw(self, grant_no: int) -> None:
        self._seen = grant_no

    def never(self, attempt: Attempt) -> None:
        self._never.append(attempt)

    def renewed(self, attempt: Attempt) -> None:
        """Its lease is longer now."""
        self._renewed.append(attempt)

    def rehoured(self, attempt: Attempt) -> None:
        """It has other hours now."""
        self._rehoured.append(attempt)

    def over(self, key: Key) -> None:
        """Not worth a write: it goes with the next record, and is found out again without."""
        self._over.append(key)

    def durable(self, token: int) -> list[Pending]:
        done = []
        while self._pending and self._pending[0].token <= token:
            done.append(self._pending.popleft())
        return done

    def take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        if self._granted or self._never or self._seen or self._renewed or self._rehoured:
            # Before any Tell: it is written before a reaper is told to start what it grants.
            actions.append(self._journal())
        for reaper, ends in self._acks.items():
            self.tell(reaper, {"type": "ack", "ends": ends})
        self._acks = {}
        for reaper, messages in self._told.items():
            actions.append(Tell(reaper, messages))
        self._told = {}
        return actions

    def _journal(self) -> Journal:
        record: Json = {}
        if self._granted:
            record["grant"] = [[*each.key, *to_json(each.terms)] for each in self._granted]
        if self._never:
            record["never"] = [each.key for each in self._never]
        if self._renewed:
            record["lease"] = [[*each.key, each.terms.end_ms] for each in self._renewed]
        if self._rehoured:
            record["hours"] = [
                [*each.key, hours and hours._asdict()]
                for each in self._rehoured
                for hours in [each.terms.hours]
            ]
        if self._over:
            record["over"] = self._over
        self._token += 1
        self._pending.append(Pending(self._token, self._never, self.connection, self._seen))
        self._granted, self._never, self._over, self._seen = [], [], [], 0
        self._renewed, self._rehoured = [], []
        return Journal(record, self._token)
