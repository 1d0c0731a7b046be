"""Test harness: a master core on a real store, with machines that the test plays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.explain import job_pages
from mythjobs.master.explain import machine as explain_machine
from mythjobs.master.explain.job import explain_job
from mythjobs.model import outcome as o
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import Submit, Submitted
from mythjobs.store.open import open_store

T = TypeVar("T")

# Tuesday 2026-11-24, 12:00 UTC.
NOON: Final = 1_795_521_600_000
HOUR_S: Final = 3600.0


class Harness:
    """Each method runs one turn at `now`. Messages pass through the codec."""

    def __init__(self, path: Path) -> None:
        self.store = open_store(path / "store.db")
        self.now = Now(NOON, 1_000_000, 1_000_000)
        self.sent: dict[str, list[m.MasterMessage]] = {}
        self._names: dict[int, str] = {}
        self._frames: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self.attempts: dict[str, dict[tuple[int, int], str]] = {}
        self._start()

    def _start(self) -> None:
        self.core = MasterCore(allow_local=True, local_jobs=None)
        with self.store.transaction() as tx:
            self.core.load(tx, self.now)

    def restart(self) -> None:
        """Restart the master; no machine is connected."""
        self._names.clear()
        self._start()

    def close(self) -> None:
        self.store.close()

    def advance(self, seconds: float) -> None:
        """Move `now` forward, then run a turn."""
        ms = round(1000 * seconds)
        self.now = Now(*(each + ms for each in self.now))
        self.turn()

    def turn(self, *arrived: requests.Request | requests.Message) -> dict[int, Any]:
        before = {key: each.draft() for key, each in self.core.state.machines.items()}
        with self.store.transaction() as tx:
            result = self.core.run_turn(tx, list(arrived), self.now)
        # A turn that is rolled back must leave no trace in the machines that drafts share.
        assert self.core.state.machines == before
        self.core.state = result.state
        for connection, messages in result.outgoing.items():
            frame = codec.decode_master_frame(codec.encode(m.MasterFrame(0, messages)))
            self.sent.setdefault(self._names.get(connection, ""), []).extend(frame.messages)
        return result.responses

    def request(self, request: requests.Request) -> Any:
        answer = self.turn(request)[0]
        if isinstance(answer, MythJobsError):
            raise answer
        return answer

    # Machines.

    def join(
        self,
        name: str = "attic",
        cores: int = 2,
        *,
        boot: str = "boot",
        zone: str = "",
        can: frozenset[str] | set[str] = m.CAPABILITIES,
        version: int = 1,
    ) -> int:
        """Attach a machine, send its first heartbeat, and return its connection."""
        connection = len(self._frames) + 1
        self._frames[connection] = 0
        self._names[connection] = name
        self.attempts.setdefault(name, {})
        hello = m.Hello(
            version, f"key of {name}", "", "", name, boot, f"incarnation {connection}", cores,
            zone=zone, can=sorted(can),
        )  # fmt: skip
        self.request(requests.Attach(hello, True, connection))
        self.heartbeat(connection)
        return connection

    def heartbeat(self, connection: int) -> None:
        held = self.attempts[self._names[connection]]
        beat = m.Heartbeat(
            self._frames[connection] + 1,
            [m.HeldAttempt(*key, state) for key, state in held.items()],
        )
        self.send_frame(connection, beat)

    def send_frame(
        self,
        connection: int,
        *messages: m.AgentMessage,
        seen: int | None = None,
        room: int | None = None,
    ) -> None:
        """Send a frame.

        seen: last grant that the machine has journalled; None: the last sent. room: free slots that
        it reports; None: as many as the master counts.
        """
        self._frames[connection] += 1
        if seen is None:
            sent = self.sent.get(self._names[connection], ())
            seen = max((each.no for each in sent if isinstance(each, m.Grant)), default=0)
        if room is None:
            machine = self.core.state.machine_on_connection(connection)
            room = max(machine.max_jobs - len(machine.live_attempts), 0) if machine else 0
        frame = m.AgentFrame(self._frames[connection], seen, room, list(messages))
        frame = codec.decode_agent_frame(codec.encode(frame))
        self.turn(requests.FrameReceived(connection, frame))

    def disconnect(self, connection: int) -> None:
        self.turn(requests.Detached(connection))

    def received(self, kind: type[T], name: str = "attic") -> list[T]:
        """Return and remove the messages of this kind that a machine has received."""
        messages = self.sent.get(name, [])
        found: list[Any] = [each for each in messages if isinstance(each, kind)]
        self.sent[name] = [each for each in messages if not isinstance(each, kind)]
        return found

    def take_grants(self, name: str = "attic") -> list[int]:
        """Return the jobs newly granted to a machine, in order; the machine holds them now."""
        grants = self.received(m.Grant, name)
        for each in grants:
            self.attempts[name][each.job, each.n] = "leased"
        return [each.job for each in grants]

    def finish(
        self,
        connection: int,
        *jobs: int,
        seconds: float = 10.0,
        code: int = 0,
        frozen_s: float = 0.0,
    ) -> None:
        """Report that these jobs exited after so many seconds each."""
        name = self._names[connection]
        ended = []
        for key in [each for each in self.attempts[name] if each[0] in jobs]:
            del self.attempts[name][key]
            began_ms = self.now.wall_ms - round(1000 * seconds)
            ended.append(
                m.Ended(
                    *key,
                    dict(o.to_json(o.Exited(code))),  # type: ignore[arg-type]
                    began_ms,
                    self.now.wall_ms,
                    {"wall_s": seconds, "frozen_s": frozen_s},
                )
            )
        self.send_frame(connection, *ended)

    def learn_run_time(self, connection: int, seconds: float, command: str = "flag") -> None:
        """Run a command three times, after which its run time on the machine is known."""
        for _ in range(3):
            job_id = self.submit(command).id
            assert self.take_grants(self._names[connection]) == [job_id]
            self.finish(connection, job_id, seconds=seconds)

    # Users.

    def define(self, name: str = "flag", **table: Any) -> None:
        definition = {"name": name, "argv": ["/bin/true"]} | table
        self.request(requests.DefineCommand(definition, True))

    def submit(self, command: str = "flag", by: str = "anna", **fields: Any) -> Submitted:
        asked = msgspec.convert({"command": command} | fields, Submit)
        answer = self.request(requests.SubmitJob(asked, by))
        assert isinstance(answer, Submitted)
        return answer

    def queue(
        self, count: int, command: str = "flag", by: str = "anna", **fields: Any
    ) -> list[int]:
        """Submit `count` jobs in one turn and return their ids."""
        asked = msgspec.convert({"command": command} | fields, Submit)
        answers = self.turn(*[requests.SubmitJob(asked, by) for _ in range(count)])
        return [answers[number].id for number in range(count)]

    def explain(self, job_id: int) -> Mapping[str, Any]:
        with self.store.snapshot() as tx:
            return explain_job(tx, self.core.state, job_id, self.now)

    def listed_job(self, job_id: int) -> Mapping[str, Any]:
        """Return the job as `mythjobs jobs` gets it."""
        with self.store.snapshot() as tx:
            listed = job_pages.list_jobs_with_reasons(tx, self.core.state, self.now)["jobs"]
        return next(each for each in listed if each["id"] == job_id)

    def shown_job(self, job_id: int) -> Mapping[str, Any]:
        with self.store.snapshot() as tx:
            return job_pages.read_job_with_reason(tx, self.core.state, self.now, job_id)

    def machine_page(self, name: str = "attic") -> Mapping[str, Any]:
        """Return the machine as `mythjobs machines` shows it."""
        [found] = [each for each in self.core.state.machines.values() if each.name == name]
        return explain_machine.summarize_machine(found, self.now)

    def explain_machine(self, name: str = "attic") -> Mapping[str, Any]:
        with self.store.snapshot() as tx:
            return explain_machine.explain_machine(tx, self.core.state, name, self.now)

    def rules(self, job_id: int) -> dict[str, dict[str, str]]:
        """Return the rules of `why` by machine; the detail is "" if the rule is met."""
        return {
            each["machine"]: {
                rule["rule"]: rule["detail"] or ("" if rule["ok"] else "no")
                for rule in each["rules"]
            }
            for each in self.explain(job_id)["machines"]
        }

    def state(self, job_id: int) -> str:
        with self.store.snapshot() as tx:
            tx.cursor.execute(f"SELECT state FROM job WHERE job_id = {job_id:d}")
            return str(tx.cursor.fetchone()[0])


def as_json(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))
