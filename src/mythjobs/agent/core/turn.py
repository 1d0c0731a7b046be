"""Actions that the agent core returns for its caller to carry out, and AgentTurn, which collects
them while the core handles one event.

A turn has at most one journal record, and one action per reaper with all messages for it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mythjobs.agent.core.attempt import AgentAttempt, Key, OutputWindows
from mythjobs.agent.core.lease_terms import terms_to_json
from mythjobs.model.machine_control import MachineControl
from mythjobs.protocol import messages as m

Json = dict[str, object]


class WriteJournal(NamedTuple):
    """Write `record` to the agent's journal, and call the core's `on_journal_written(token)` and
    later `on_journal_synced(token)`: at once if the record is urgent, because a start or a message
    to the master waits for it. Otherwise the record may be written a little later, together with
    the next ones, and the calls may wait until the next frame is sent."""

    record: Json
    token: int
    is_urgent: bool = True


class SendToReaper(NamedTuple):
    """Send these messages to this reaper, in this order."""

    reaper: str
    messages: list[Json]


class ReadNewOutput(NamedTuple):
    """Scan the attempt's new output for progress, and feed the transfers that follow it."""

    attempt: AgentAttempt


class ForwardTransfer(NamedTuple):
    """Pass a message about an output transfer from the master to OutputTransfers."""

    message: m.OutputFetch | m.OutputCredit | m.OutputStop


class CheckInputs(NamedTuple):
    """Find out whether the attempt's input files can be read, and whether all its paths are below
    the roots of the machine's own policy, and call `on_inputs_checked()`."""

    key: Key
    inputs: list[str]
    paths: list[str]


class DeleteOutput(NamedTuple):
    """Delete the kept output of an attempt: the master has collected it."""

    key: Key
    output: OutputWindows


class RemoveReaper(NamedTuple):
    """Remove a dead reaper's directory: the master has acknowledged all ends in its journal."""

    reaper: str


Action = (
    WriteJournal
    | SendToReaper
    | ReadNewOutput
    | ForwardTransfer
    | CheckInputs
    | DeleteOutput
    | RemoveReaper
)


class PendingWrite(NamedTuple):
    """Granted attempts to start once the journal record number `token` is written."""

    token: int
    granted: list[AgentAttempt]


class PendingSync(NamedTuple):
    """Never-start marks and highest grant number to report to the master once the journal record
    number `token` is durable. Grant numbers count per connection, so the number is not reported on
    another connection than `connection`."""

    token: int
    never_start: list[AgentAttempt]
    connection: int
    grant_no: int


class AgentTurn:
    """Collects journal entries, messages for reapers and other actions until `take_actions`."""

    def __init__(self) -> None:
        # Number of the current connection to the master. Grant numbers count per connection.
        self.connection = 0
        self._actions: list[Action] = []
        self._messages: dict[str, list[Json]] = {}
        self._acks: dict[str, list[Key]] = {}
        self._granted: list[AgentAttempt] = []
        self._start_after_write: list[AgentAttempt] = []
        self._never_start: list[AgentAttempt] = []
        self._forgotten: list[Key] = []
        self._renewed: list[AgentAttempt] = []
        self._hours_changed: list[AgentAttempt] = []
        self._control: MachineControl | None = None
        self._grant_no = 0
        self._token = 0
        self._unwritten: deque[PendingWrite] = deque()
        self._pending: deque[PendingSync] = deque()

    def add(self, action: Action) -> None:
        self._actions.append(action)

    def send(self, reaper: str, message: Json) -> None:
        self._messages.setdefault(reaper, []).append(message)

    def acknowledge_end(self, reaper: str, key: Key) -> None:
        self._acks.setdefault(reaper, []).append(key)

    def record_grant(self, attempt: AgentAttempt, *, starts_after_write: bool) -> None:
        self._granted.append(attempt)
        if starts_after_write:
            self._start_after_write.append(attempt)

    def record_grant_no(self, grant_no: int) -> None:
        self._grant_no = grant_no

    def record_never_start(self, attempt: AgentAttempt) -> None:
        self._never_start.append(attempt)

    def record_renewal(self, attempt: AgentAttempt) -> None:
        self._renewed.append(attempt)

    def record_hours(self, attempt: AgentAttempt) -> None:
        self._hours_changed.append(attempt)

    def record_control(self, control: MachineControl) -> None:
        self._control = control

    def record_forgotten(self, key: Key) -> None:
        """Add the attempt to the next journal record, without writing a record for it alone. If the
        entry is lost in a crash, the next agent forgets the attempt again."""
        self._forgotten.append(key)

    def take_written(self, token: int) -> list[AgentAttempt]:
        """Remove and return the attempts that wait for their start until their journal record is
        written: those with a record up to number `token`."""
        written: list[AgentAttempt] = []
        while self._unwritten and self._unwritten[0].token <= token:
            written += self._unwritten.popleft().granted
        return written

    def take_synced(self, token: int) -> list[PendingSync]:
        """Remove and return the reports whose journal records have become durable: the records up
        to number `token`."""
        synced = []
        while self._pending and self._pending[0].token <= token:
            synced.append(self._pending.popleft())
        return synced

    def take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        for reaper, ends in self._acks.items():
            self.send(reaper, {"type": "ack", "ends": ends})
        self._acks = {}
        for reaper, messages in self._messages.items():
            actions.append(SendToReaper(reaper, messages))
        self._messages = {}
        never_start, hours, no = self._never_start, self._hours_changed, self._grant_no
        if self._granted or never_start or no or self._renewed or hours or self._control:
            # The starts in `messages` need no record (AttemptTable.add_grant).
            actions.append(self._build_journal_write())
        return actions

    def _build_journal_write(self) -> WriteJournal:
        record: Json = {}
        if self._granted:
            record["grant"] = [[*each.key, *terms_to_json(each.terms)] for each in self._granted]
        if self._never_start:
            record["never"] = [each.key for each in self._never_start]
        if self._renewed:
            record["lease"] = [[*each.key, each.terms.end_ms] for each in self._renewed]
        if self._hours_changed:
            record["hours"] = [
                [*each.key, hours and hours._asdict()]
                for each in self._hours_changed
                for hours in [each.terms.hours]
            ]
        if self._control is not None:
            record["control"] = self._control
        if self._forgotten:
            record["over"] = self._forgotten
        self._token += 1
        is_urgent = bool(self._start_after_write or self._never_start or self._control)
        if self._start_after_write:
            self._unwritten.append(PendingWrite(self._token, self._start_after_write))
            self._start_after_write = []
        self._pending.append(
            PendingSync(self._token, self._never_start, self.connection, self._grant_no)
        )
        self._granted, self._never_start, self._forgotten, self._grant_no = [], [], [], 0
        self._renewed, self._hours_changed, self._control = [], [], None
        return WriteJournal(record, self._token, is_urgent)
