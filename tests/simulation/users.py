"""Simulated users: submit jobs and batches, act on jobs, and configure commands and machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.core import TurnResult
from mythjobs.master.schedules import requests as schedule_requests
from mythjobs.protocol.job_changes import JobChanges
from mythjobs.protocol.requests import Submit, Submitted
from tests.simulation.configuration import Configuration, is_revoked_name
from tests.simulation.machine import SimMachine
from tests.simulation.master import SimMaster
from tests.simulation.plan import Plan, Step
from tests.simulation.sent_requests import SentRequest
from tests.simulation.simulator import Simulator

_RELEASE_MS: Final = 60_000
# A machine starts nothing later than this after its grant; with a margin for slow clocks.
_START_BY_MS: Final = 1_200_000
_OVERRIDE_MS: Final = 12 * 3_600_000
_MAX_LISTED: Final = 10


class SimUsers:
    """machines: by their names in the plan."""

    def __init__(
        self,
        sim: Simulator,
        master: SimMaster,
        plan: Plan,
        configuration: Configuration,
        machines: Mapping[str, SimMachine],
    ) -> None:
        self._sim = sim
        self._master = master
        self._names = configuration.names
        self._machines = machines
        self._plan = plan
        self._job_ids: dict[int, int] = {}  # by the index of the submit
        self._refused: set[int] = set()  # submits that depend on a job that was deleted
        self._further_ids: set[int] = set()  # of reruns and batches
        self.scheduled_ids: set[int] = set()  # of schedules
        self.cancelled: set[int] = set()  # acknowledged cancels
        self._reported_cancelled: set[int] = set()  # acknowledged as already in the final state
        self._held_by_restore: set[int] = set()
        # Acknowledged requests to delete jobs: ended before (ms), in these states (none: any).
        self.pruned: list[tuple[int, Sequence[str]]] = []
        self._open_requests = 0
        self._submits = 0
        self._dead: set[str] = set()  # machines that never come back
        self._rejoin_ms: dict[str, int] = {}  # how long after its revocation a machine joins again
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
        answered = len(self._job_ids) + len(self._refused)
        return not self._open_requests and answered == self._submits

    def all_job_ids(self, result: TurnResult) -> Sequence[int]:
        return range(1, result.state.next_job_id)

    def on_restore(self, next_id: int, cancelled: Collection[int], held: Collection[int]) -> None:
        """The store was restored: users submit again what is lost.

        next_id: no id of a job in the store is as high. cancelled: jobs whose cancel was
        acknowledged before the backup. held: jobs that wait for a release.
        """
        self.cancelled &= set(cancelled)
        self._reported_cancelled &= set(cancelled)
        self._held_by_restore = set(held)
        self._further_ids = {each for each in self._further_ids if each < next_id}
        self.scheduled_ids -= {each for each in self.scheduled_ids if each >= next_id}
        lost = [index for index, job_id in self._job_ids.items() if job_id >= next_id]
        submits = [each for each in self._plan.work if each.action == "submit"]
        for index in lost:
            del self._job_ids[index]
        for index in lost:
            self._submit(dict(submits[index].arguments), index)

    def _execute(self, step: Step, index: int | None) -> None:
        self._sim.trace("users", f"{step.action} {step.arguments}")
        self._sim.count(f"user {step.action}")
        arguments = dict(step.arguments)
        job_id = self._job_ids.get(arguments.pop("job", -1))
        match step.action:
            case "submit":
                self._submit(arguments, index)
            case "batch":
                self._master.submit_batch(arguments, self._on_batch)
            case "cancel" | "hold" | "release" | "rerun" | "freeze" | "set" if job_id is None:
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
            case "set":
                # Of a job that waits; else the request changes nothing.
                if (seconds := arguments.pop("not_before_s", None)) is not None:
                    arguments["not_before_ms"] = self._master.clock.wall_ms() + 1000 * seconds
                changes = msgspec.convert(arguments, JobChanges)
                self._request(requests.SetJobs([job_id or 0], changes, "bert"))
            case "freeze":
                self._request(requests.FreezeJobs([job_id or 0], arguments["on"]))
            case "rerun many":
                # Of the last jobs, batches and earlier reruns among them.
                last = sorted(self._known_ids)[-_MAX_LISTED:]
                self._request(requests.RerunJobs(last, "bert"))
            case "prune":
                before_ms = self._master.clock.wall_ms() - 1000 * arguments["age_s"]
                self.pruned.append((before_ms, arguments["states"]))
                self._master.prune(before_ms, arguments["states"])
            case "hours":
                duration_ms = arguments.pop("for_ms", 0)
                until_ms = self._master.clock.wall_ms() + duration_ms if duration_ms else None
                self._request(requests.OverrideHours(**arguments, until_ms=until_ms))
            case "control":
                for_ms = arguments["for_ms"]
                until_ms = self._master.clock.wall_ms() + for_ms if for_ms else None
                name, action = arguments["name"], arguments["action"]
                self._request(requests.ControlMachine(name, action, until_ms))
            case "set machine":
                self._request(requests.SetMachine(**arguments))
            case "rename":
                self._request(requests.RenameMachine(arguments["name"], arguments["new"]))
            case "revoke":
                self._request(requests.RevokeMachine(arguments["name"]))
                self._rejoin_ms[arguments["name"]] = 1000 * arguments["rejoin_s"]
            case "edit":
                self._request(requests.EditMachine(arguments["name"], arguments["settings"]))
            case "define":
                self._request(requests.DefineCommand(arguments, True))
            case "semaphore":
                self._request(requests.SetSemaphore(arguments["name"], arguments["size"]))
            case "enable":
                self._request(requests.EnableCommand(arguments["name"], arguments["on"]))
            case "schedule":
                self._request(schedule_requests.DefineSchedule(arguments, "anna", True))
            case "run schedule":
                self._request(schedule_requests.RunSchedule(arguments["name"], "bert"))
            case "backfill":
                from_ms = self._master.clock.wall_ms() - 1000 * arguments["age_s"]
                to_ms = from_ms + 1000 * arguments["span_s"]
                name = arguments["name"]
                self._request(schedule_requests.BackfillSchedule(name, from_ms, to_ms, False))
            case "cancel tick":
                # One of the last jobs of schedules; 0 is the newest.
                newest_first = sorted(self.scheduled_ids, reverse=True)
                number = arguments["newest"]
                self._request(requests.CancelJobs(newest_first[number : number + 1], "anna"))
            case "pause schedule":
                pause = schedule_requests.PauseSchedule(arguments["name"], arguments["on"])
                self._request(pause)
            case "dead":
                self._dead.add(arguments["name"])
                self._request(requests.DeclareDead(arguments["name"], "anna", "it burned down"))
            case _:
                raise AssertionError(f"unknown action {step.action}")

    @property
    def _known_ids(self) -> set[int]:
        return {*self._job_ids.values(), *self._further_ids}

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
        # The machine of a job may have another name now.
        arguments |= {"key": f"key {index}", "after": after, "await_machine": True}
        submit = msgspec.convert(arguments, Submit)
        self._request(requests.SubmitJob(submit, submitter), index)

    # Responses.

    def _request(self, request: requests.Request, index: int | None = None) -> None:
        self._open_requests += 1
        handle = partial(self._on_response, request, index)
        SentRequest(self._sim, self._master, request, handle, self._names)

    def _on_response(
        self, request: requests.Request, index: int | None, response: Any, is_first: bool
    ) -> None:
        self._open_requests -= is_first
        if isinstance(request, requests.RevokeMachine) and is_first:
            # Until then the users are not done.
            self._open_requests += 1
            self._sim.call_later(self._rejoin_ms[request.name], self._rejoin, request.name)
        if isinstance(response, MythJobsError):
            self._sim.trace("users", f"rejected: {response.sentence}")
            if is_first:
                self._check_rejection(request, index, response)
        elif isinstance(response, Submitted) and index is not None:
            self._sim.trace("users", f"submit {index} is {response}")
            if self._job_ids.setdefault(index, response.id) != response.id:
                text = f"submit {index} is job {self._job_ids[index]} and {response}"
                self._sim.report_violation("I2", text)
        elif isinstance(request, requests.RerunJobs):
            self._further_ids |= {int(each.done) for each in response if each.done}
        elif isinstance(request, requests.CancelJobs):
            for each in response:
                if each.done:
                    self.cancelled.add(each.id)
                if each.done == "cancelled":
                    self._reported_cancelled.add(each.id)

    def _check_rejection(
        self, request: requests.Request, index: int | None, error: MythJobsError
    ) -> None:
        if isinstance(request, requests.SubmitJob) and index is not None:
            if request.submit.after and "no job" in error.sentence:
                self._refused.add(index)
                return
        elif not isinstance(request, requests.DefineCommand | requests.EditMachine):
            return
        text = f"a request of the plan is rejected: {error.sentence}"
        self._sim.report_violation("WORK", text)

    def _on_batch(self, job_ids: Sequence[int]) -> None:
        self._further_ids.update(job_ids)

    # Machines.

    def _rejoin(self, name: str) -> None:
        """Let a machine join again, with a new key, and give it its settings."""
        self._open_requests -= 1
        machine = self._machines[name]
        machine.renew_key()
        self._request(requests.ApproveMachine(machine.key, name, "all"))
        settings = self._plan.settings[int(name.removeprefix("m")) - 1]
        self._request(requests.EditMachine(name, settings))

    def _declare_revoked_dead(self) -> list[requests.Request]:
        """Return requests that end the attempts of revoked machines that run nothing any more."""
        process, now_ms = self._master.process, self._sim.now_ms
        if process is None or now_ms < self._plan.calm_ms + _START_BY_MS:
            return []
        return [
            requests.DeclareDead(each.name, "anna", "it has joined again")
            for each in process.core.state.machines.values()
            if is_revoked_name(each.name) and each.live_attempts
            if self._machines[each.key.split()[-1]].is_idle
        ]

    # End of the run.

    def release_all(self) -> None:
        """Release everything that waits for a user; repeat it until the run ends."""
        plan = self._plan
        job_ids = sorted(self._known_ids | self.scheduled_ids | self._held_by_restore)
        releases: list[requests.Request] = [
            requests.EnableCommand(str(each["name"]), True) for each in plan.commands
        ]
        releases += [requests.SetSemaphore(*each) for each in plan.semaphores.items()]
        # Some jobs are longer than any of their windows.
        until_ms = self._master.clock.wall_ms() + _OVERRIDE_MS
        for number, settings in enumerate(plan.settings, 1):
            name = f"m{number}"
            releases.append(requests.OverrideHours(name, "allow", until_ms))
            if any(each.action == "control" for each in plan.work):
                releases.append(requests.ControlMachine(name, "resume"))
            if any(each.action in ("edit", "set machine", "revoke") for each in plan.work):
                releases.append(requests.EditMachine(name, settings))
            if any(each.action == "rename" for each in plan.work):
                releases.append(requests.RenameMachine(name, name))
        releases += self._declare_revoked_dead()
        for name in sorted(self._dead):
            releases.append(requests.DeclareDead(name, "anna", "it burned down"))
        if job_ids:
            releases += [requests.ReleaseJobs(job_ids), requests.FreezeJobs(job_ids, False)]
        for each in releases:
            SentRequest(self._sim, self._master, each, lambda *_: None, self._names)
        self._sim.call_later(_RELEASE_MS, self.release_all)

    def check_final_states(self, states: dict[int, str], removed: set[int]) -> None:
        """Report acknowledged submits and cancels that the store has lost.

        removed: jobs that were deleted rightly.
        """
        for job_id in self._known_ids - states.keys() - removed:
            self._sim.report_violation("I1", f"job {job_id} is not in the store")
        for job_id in self._reported_cancelled - removed:
            if states.get(job_id) != "cancelled":
                text = f"job {job_id} was cancelled, but its state is {states[job_id]}"
                self._sim.report_violation("I1", text)
        for state in states.values():
            self._sim.count(state)
