"""Simulated users: submit, cancel, pause and configure; requests are retried until answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mythjobs.errors import MythJobsError, NoSuchMachine, StoreFull, StoreUnavailable
from mythjobs.master import requests
from mythjobs.master.core import TurnResult
from mythjobs.protocol.requests import Submit, Submitted
from tests.simulation.master import SimMaster
from tests.simulation.plan import Plan, Step
from tests.simulation.simulator import Simulator

_RETRY_MS: Final = 5000
_RELEASE_MS: Final = 60_000
_OVERRIDE_MS: Final = 12 * 3_600_000


class SimUsers:
    def __init__(self, sim: Simulator, master: SimMaster, plan: Plan) -> None:
        self._sim = sim
        self._master = master
        self._job_ids: dict[int, int] = {}  # by the index of the submit
        self._machines = plan.machines
        self._rerun_ids: set[int] = set()
        self._commands = [str(each["name"]) for each in plan.commands]
        self.cancelled: set[int] = set()  # acknowledged cancels
        self._reported_cancelled: set[int] = set()  # acknowledged as already in the final state
        self._open_requests = 0
        self._submits = 0
        for each in plan.commands:
            self._request(requests.DefineCommand(each, True))
        for name, size in plan.semaphores.items():
            self._request(requests.SetSemaphore(name, size))
        for number, settings in enumerate(plan.settings, 1):
            self._request(requests.EditMachine(f"m{number}", settings))
        for step in plan.work:
            index = None
            if step.action == "submit":
                index, self._submits = self._submits, self._submits + 1
            sim.call_at(step.at_ms, self._execute, step, index)

    @property
    def are_done(self) -> bool:
        return not self._open_requests and len(self._job_ids) == self._submits

    def all_job_ids(self, result: TurnResult) -> Sequence[int]:
        return range(1, result.state.next_job_id)

    # Steps of the plan.

    def _execute(self, step: Step, index: int | None) -> None:
        self._sim.trace("users", f"{step.action} {step.arguments}")
        arguments = dict(step.arguments)
        if step.action == "submit":
            self._submit(arguments, index)
            return
        job_id = self._job_ids.get(arguments.pop("job", -1))
        match step.action:
            case "cancel" | "hold" | "release" | "rerun" | "freeze" if job_id is None:
                pass  # the job is not submitted yet
            case "cancel":
                self._request(requests.CancelJobs([job_id or 0], "anna"))
            case "hold":
                self._request(requests.HoldJobs([job_id or 0]))
            case "release":
                self._request(requests.ReleaseJobs([job_id or 0]))
            case "rerun":
                # Of a job that has ended; else the request changes nothing.
                self._request(requests.RerunJobs([job_id or 0], "anna"))
            case "freeze":
                self._request(requests.FreezeJobs([job_id or 0], arguments["on"]))
            case "hours":
                duration_ms = arguments.pop("for_ms", 0)
                until_ms = self._master.clock.wall_ms() + duration_ms if duration_ms else None
                self._request(requests.OverrideHours(**arguments, until_ms=until_ms))
            case "edit":
                self._request(requests.EditMachine(arguments["name"], arguments["settings"]))
            case "enable":
                self._request(requests.EnableCommand(arguments["name"], arguments["on"]))
            case _:
                raise AssertionError(f"unknown action {step.action}")

    def _submit(self, arguments: dict[str, Any], index: int | None) -> None:
        after = [
            {"job": self._job_ids[each["job"]], "when": each["when"]}
            for each in arguments.pop("after", ())
            if each["job"] in self._job_ids
        ]
        for name in ("not_before", "deadline"):
            if (seconds := arguments.pop(f"{name}_s", None)) is not None:
                arguments[f"{name}_ms"] = self._master.clock.wall_ms() + 1000 * seconds
        submitter = arguments.pop("submitter", arguments["subject"] or "anna")
        submit = msgspec.convert(arguments | {"key": f"key {index}", "after": after}, Submit)
        self._request(requests.SubmitJob(submit, submitter), index)

    # Requests, retried until there is a response.

    def _request(self, request: requests.Request, index: int | None = None) -> None:
        self._open_requests += 1
        self._send(request, index, [])

    def _send(self, request: requests.Request, index: int | None, answered: list[bool]) -> None:
        """`answered` has one entry for each transmission, and True once a response arrived."""
        if True in answered:
            return
        if answered:
            self._sim.count("requests sent again")
        answered.append(False)

        def on_response(response: Any) -> None:
            is_retried = isinstance(response, StoreFull | StoreUnavailable | NoSuchMachine)
            if is_retried or True in answered:
                # Also a late response to an earlier transmission: it must not contradict.
                self._handle_response(request, index, response, first=False)
                return
            answered.append(True)
            self._open_requests -= 1
            self._handle_response(request, index, response, first=True)

        self._master.send_request(request, on_response)
        self._sim.call_later(_RETRY_MS, self._send, request, index, answered)

    def _handle_response(
        self, request: requests.Request, index: int | None, response: Any, *, first: bool
    ) -> None:
        if isinstance(response, MythJobsError):
            self._sim.trace("users", f"rejected: {response.sentence}")
            kinds = requests.SubmitJob | requests.DefineCommand | requests.EditMachine
            if first and isinstance(request, kinds):
                text = f"a request of the plan is rejected: {response.sentence}"
                self._sim.report_violation("WORK", text)
        elif isinstance(response, Submitted) and index is not None:
            self._sim.trace("users", f"submit {index} is {response}")
            if self._job_ids.setdefault(index, response.id) != response.id:
                text = f"submit {index} is job {self._job_ids[index]} and {response}"
                self._sim.report_violation("I2", text)
        elif isinstance(request, requests.RerunJobs):
            self._rerun_ids |= {int(each.done) for each in response if each.done}
        elif isinstance(request, requests.CancelJobs):
            for each in response:
                if each.done:
                    self.cancelled.add(each.id)
                if each.done == "cancelled":
                    self._reported_cancelled.add(each.id)

    # End of the run.

    def release_all(self) -> None:
        """Release everything that waits for a user; repeat it until the run ends."""
        job_ids = sorted({*self._job_ids.values(), *self._rerun_ids})
        releases: list[requests.Request] = [
            requests.EnableCommand(each, True) for each in self._commands
        ]
        # Some jobs are longer than any of their windows.
        until_ms = self._master.clock.wall_ms() + _OVERRIDE_MS
        for number in range(1, self._machines + 1):
            releases.append(requests.OverrideHours(f"m{number}", "allow", until_ms))
        if job_ids:
            releases += [requests.ReleaseJobs(job_ids), requests.FreezeJobs(job_ids, False)]
        for each in releases:
            self._master.send_request(each, lambda _: None)
        self._sim.call_later(_RELEASE_MS, self.release_all)

    def check_final_states(self, states: dict[int, str]) -> None:
        """Report acknowledged submits and cancels that the store has lost."""
        for index, job_id in self._job_ids.items():
            if job_id not in states:
                text = f"job {job_id} of submit {index} is not in the store"
                self._sim.report_violation("I1", text)
        for job_id in self._reported_cancelled:
            if states.get(job_id) != "cancelled":
                text = f"job {job_id} was cancelled, but its state is {states[job_id]}"
                self._sim.report_violation("I1", text)
        for state in states.values():
            self._sim.count(state)
