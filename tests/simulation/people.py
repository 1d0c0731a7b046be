"""Who submits, cancels, pauses and defines; and asks again whenever no answer came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mythjobs.errors import MythJobsError, NoSuchMachine, StoreFull, StoreUnavailable
from mythjobs.master import requests as master_requests
from mythjobs.master.core import TurnResult
from mythjobs.protocol.requests import Submit, Submitted
from tests.simulation.master import Master
from tests.simulation.plan import Plan, Step
from tests.simulation.world import World

_AGAIN_MS: Final = 5000
_TIDY_MS: Final = 60_000
_LONG_MS: Final = 12 * 3_600_000


class People:
    def __init__(self, world: World, master: Master, plan: Plan) -> None:
        self._world = world
        self._master = master
        self._ids: dict[int, int] = {}  # by the place of its submit
        self._machines = plan.machines
        self._commands = [str(each["name"]) for each in plan.commands]
        self.cancelled: set[int] = set()
        self._gone: set[int] = set()  # was told that it is cancelled
        self._open = 0
        self._submits = 0
        for each in plan.commands:
            self._ask(master_requests.DefineCommand(each, True))
        for name, size in plan.semaphores.items():
            self._ask(master_requests.SetSemaphore(name, size))
        for number, settings in enumerate(plan.settings, 1):
            self._ask(master_requests.EditMachine(f"m{number}", settings))
        for step in plan.work:
            place = None
            if step.do == "submit":
                place, self._submits = self._submits, self._submits + 1
            world.at(step.at_ms, self._step, step, place)

    @property
    def done(self) -> bool:
        return not self._open and len(self._ids) == self._submits

    def every_job(self, result: TurnResult) -> Sequence[int]:
        return range(1, result.state.next_job_id)

    # One step after the other.

    def _step(self, step: Step, place: int | None) -> None:
        self._world.say("people", f"{step.do} {step.what}")
        what = dict(step.what)
        if step.do == "submit":
            self._submit(what, place)
            return
        job_id = self._ids.get(what.pop("job", -1))
        match step.do:
            case "cancel" | "hold" | "release" | "freeze" if job_id is None:
                pass  # it is not there yet
            case "cancel":
                self._ask(master_requests.CancelJobs([job_id or 0], "anna"))
            case "hold":
                self._ask(master_requests.HoldJobs([job_id or 0]))
            case "release":
                self._ask(master_requests.ReleaseJobs([job_id or 0]))
            case "freeze":
                self._ask(master_requests.FreezeJobs([job_id or 0], what["on"]))
            case "hours":
                for_ms = what.pop("for_ms", 0)
                until_ms = self._master.clock.wall() + for_ms if for_ms else None
                self._ask(master_requests.OverrideHours(**what, until_ms=until_ms))
            case "edit":
                self._ask(master_requests.EditMachine(what["name"], what["settings"]))
            case "enable":
                self._ask(master_requests.EnableCommand(what["name"], what["on"]))
            case _:
                raise AssertionError(f"nobody knows how to {step.do}")

    def _submit(self, what: dict[str, Any], place: int | None) -> None:
        after = [
            {"job": self._ids[each["job"]], "when": each["when"]}
            for each in what.pop("after", ())
            if each["job"] in self._ids
        ]
        for name in ("not_before", "deadline"):
            if (seconds := what.pop(f"{name}_s", None)) is not None:
                what[f"{name}_ms"] = self._master.clock.wall() + 1000 * seconds
        submit = msgspec.convert(what | {"key": f"key {place}", "after": after}, Submit)
        self._ask(master_requests.SubmitJob(submit, what["subject"] or "anna"), place)

    # Asking until there is an answer.

    def _ask(self, request: master_requests.Request, place: int | None = None) -> None:
        self._open += 1
        self._try(request, place, [])

    def _try(self, request: master_requests.Request, place: int | None, tries: list[bool]) -> None:
        """`tries` has one entry for each time it was asked, and is closed by an answer."""
        if True in tries:
            return
        if tries:
            self._world.count("asked again")
        tries.append(False)

        def answered(answer: Any) -> None:
            again = isinstance(answer, StoreFull | StoreUnavailable | NoSuchMachine)
            if again or True in tries:
                # Late, and asked again meanwhile: it says the same, or nothing new.
                self._take(request, place, answer, first=False)
                return
            tries.append(True)
            self._open -= 1
            self._take(request, place, answer, first=True)

        self._master.ask(request, answered)
        self._world.after(_AGAIN_MS, self._try, request, place, tries)

    def _take(
        self, request: master_requests.Request, place: int | None, answer: Any, *, first: bool
    ) -> None:
        if isinstance(answer, MythJobsError):
            self._world.say("people", f"refused: {answer.sentence}")
            if first and isinstance(
                request,
                master_requests.SubmitJob
                | master_requests.DefineCommand
                | master_requests.EditMachine,
            ):
                self._world.broken("WORK", f"what was drawn is refused: {answer.sentence}")
        elif isinstance(answer, Submitted) and place is not None:
            self._world.say("people", f"submit {place} is {answer}")
            if self._ids.setdefault(place, answer.id) != answer.id:
                self._world.broken("I2", f"submit {place} is job {self._ids[place]} and {answer}")
        elif isinstance(request, master_requests.CancelJobs):
            for each in answer:
                if each.done:
                    self.cancelled.add(each.id)
                if each.done == "cancelled":
                    self._gone.add(each.id)

    # The end.

    def calm(self) -> None:
        """From now on everything that waits for a person is let go."""
        ids = sorted(self._ids.values())
        requests: list[master_requests.Request] = [
            master_requests.EnableCommand(each, True) for each in self._commands
        ]
        # Some jobs are longer than any of their hours.
        until_ms = self._master.clock.wall() + _LONG_MS
        for number in range(1, self._machines + 1):
            requests.append(master_requests.OverrideHours(f"m{number}", "allow", until_ms))
        if ids:
            requests += [master_requests.ReleaseJobs(ids), master_requests.FreezeJobs(ids, False)]
        for each in requests:
            self._master.ask(each, lambda _: None)
        self._world.after(_TIDY_MS, self.calm)

    def judge(self, states: dict[int, str]) -> None:
        for place, job_id in self._ids.items():
            if job_id not in states:
                self._world.broken("I1", f"job {job_id} of submit {place} is not in the store")
        for job_id in self._gone:
            if states.get(job_id) != "cancelled":
                self._world.broken("I1", f"job {job_id} was cancelled, and is {states[job_id]}")
        for state in states.values():
            self._world.count(state)
