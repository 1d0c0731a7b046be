"""Jobs of one placement walk whose input files some machines cannot read."""

from __future__ import annotations

from collections.abc import Sequence

from mythjobs.master.placement import visibility
from mythjobs.master.placement.visibility import NO_PATHS, JobPaths
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN
from mythjobs.scheduler.order import ReadyJob
from mythjobs.scheduler.placement_walk import MAX_SKIPPED
from mythjobs.store.writes import jobs


class HiddenJobs:
    """Finds, skips and defers such jobs. Used only while a machine has reported a hidden path."""

    def __init__(self, turn: TurnContext) -> None:
        self._turn = turn
        self._paths: dict[int, JobPaths] = {}  # by job id
        # By job id and machine id: why it cannot start there, and when that is tried again.
        self._found: dict[int, dict[int, tuple[str, int]]] = {}
        self._skipped: list[ReadyJob] = []

    def find(self, job: ReadyJob, waiting: Sequence[ReadyJob]) -> set[int]:
        """Return the machines that cannot read the inputs of a job. waiting: jobs of its class that
        were read, among them the job."""
        turn = self._turn
        command = turn.catalog.job_class(turn.tx, job.class_id).command
        if not command.path_names and command.name != RUN:
            return set()
        if job.job_id not in self._paths:
            rows = jobs.read_submissions(turn.tx, [each.job_id for each in waiting])
            for job_id, row in rows.items():
                self._paths[job_id] = visibility.read_paths(command, row["arguments"])
        paths = self._paths.get(job.job_id, NO_PATHS)
        found = {
            machine_id: hidden
            for machine_id, machine in turn.state.machines.items()
            if (hidden := visibility.find_hidden(turn.state, machine, paths, turn.now.wall_ms))
        }
        self._found[job.job_id] = found
        return set(found)

    def skip(self, job: ReadyJob) -> None:
        self._skipped.append(job)

    def finish(self) -> None:
        """Defer the skipped jobs that no machine may start that could read their files; the others
        stay ready for the machines that are full now."""
        if not self._skipped:
            return
        until_ms, sentences = {}, {}
        for job in self._skipped:
            # Their class is read again in the next turn.
            self._turn.recheck({job.class_id})
            found = self._found[job.job_id]
            if self._find_permitted(job.class_id) <= found.keys():
                until_ms[job.job_id] = min(each for _, each in found.values())
                sentences[job.job_id] = self._describe(found)
        if until_ms:
            visibility.defer_hidden(self._turn, until_ms, sentences)
            if len(self._skipped) >= MAX_SKIPPED:
                # The walk ended before it had seen all jobs.
                self._turn.state.schedule_turn(self._turn.now.wall_ms)

    def _find_permitted(self, class_id: int) -> set[int]:
        turn = self._turn
        job_class = turn.catalog.job_class(turn.tx, class_id)
        return {
            each.machine_id
            for each in turn.state.machines.values()
            if each.accepts_grants and turn.fits.fit(turn.state, each, job_class).permitted
        }

    def _describe(self, found: dict[int, tuple[str, int]]) -> str:
        machines = self._turn.state.machines
        details = [f"{machines[each].name} {why}" for each, (why, _) in found.items()]
        return f"waits for a machine that can read its files: {'; '.join(sorted(details))}"
