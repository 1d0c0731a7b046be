"""Handler of single submits, and the checks that single and batch submits share."""

from __future__ import annotations

from typing import Final

import msgspec

from mythjobs.errors import BadRequest, NoSuchMachine, machine_not_found
from mythjobs.master.catalog import NO_REQUIREMENTS, JobRequirements
from mythjobs.master.requests import (
    SubmitJob,
)
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.arguments import MAX_ARGUMENT_BYTES, check_arguments
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.names import MAX_NAME_LENGTH
from mythjobs.model.policy_tables import read_bounds, read_labels, read_semaphores
from mythjobs.model.progress import check_setting
from mythjobs.model.template import parse_template
from mythjobs.model.units import MAX_DURATION_S
from mythjobs.protocol.requests import AdHocRun, BatchSubmit, Dependency, Submit
from mythjobs.scheduler.blocked import describe_unmet
from mythjobs.store.writes import batches, dependencies, jobs
from mythjobs.store.writes.commands import CommandRevision

# Maximum bytes of an ad-hoc run's arguments and environment. execve(2) takes 2 MiB with Linux's
# default stack limit; the other half is for the environment that the agent adds.
_MAX_RUN_BYTES = 2**20
_MAX_KEY = 200
# PostgreSQL refuses index rows over 2704 bytes, which other columns share.
MAX_SUBJECT_BYTES: Final = 2000
MAX_REQUIREMENT_BYTES: Final = 2000
_MAX_COMMENT = 10_000
DEADLINE_BEFORE_START: Final = "the deadline is before the start time"


def submit_job(
    turn: TurnContext,
    request: SubmitJob,
    revision: CommandRevision | None = None,
    rerun_of: int | None = None,
) -> tuple[int, bool]:
    """Insert a job, unless its key was used before. Return the job's id and whether it is new.

    revision: of the command; None: the current one. rerun_of: the job that this one repeats.
    Raises BadRequest, NoSuchCommand.
    """
    submit = request.submit
    _check_submit(submit)
    if submit.key is not None:
        turn.flush_new_jobs()
        if (existing := jobs.find_by_key(turn.tx, submit.key)) is not None:
            return existing[0], False
    if revision is None:
        revision = turn.catalog.find_command(turn.tx, submit.command)
    command = turn.catalog.decoded_command(revision)
    arguments, subject = encode_arguments(command, submit)
    check_machine_joined(turn.state, submit)
    requirements = job_requirements(submit, prefer=find_file_machine(turn, subject))
    class_id = turn.catalog.class_id(turn.tx, revision, request.submitter, requirements)
    after = _dependency_states(turn, submit.after)
    failed = [(each.job, state) for each, state in after if _has_failed(each, state)]
    unmet = sum(state not in FINAL for _, state in after)
    is_due = submit.not_before_ms is None or submit.not_before_ms <= turn.now.wall_ms
    job_id = turn.allocate_ids(1)
    is_ready = is_due and not (submit.hold or unmet or failed or subject)
    new = jobs.NewJob(
        job_id,
        class_id,
        revision.command_id,
        arguments,
        turn.now.wall_ms,
        key=submit.key,
        subject=subject,
        overlap=int(command.overlap),
        priority=submit.priority,
        hold=int(submit.hold),
        not_before_ms=None if is_due else submit.not_before_ms,
        unmet=unmet,
        ready_class=class_id if is_ready else None,
        comment=submit.comment,
        rerun_of=rerun_of,
        deadline_ms=submit.deadline_ms,
    )
    turn.new_jobs.append(new)
    _add_dependencies(turn, job_id, after, is_serial=request.is_serial)
    if submit.deadline_ms is not None:
        turn.state.schedule_turn(submit.deadline_ms)
    if submit.not_before_ms is not None and not is_due:
        turn.state.schedule_turn(submit.not_before_ms)
    if failed:
        turn.flush_new_jobs()
        why = describe_unmet(*failed[0])
        turn.cancel_queued([job_id], lambda _: why, code="dependency_failed")
    elif subject is not None:
        turn.changed_subjects.add(subject)
    elif is_ready:
        turn.state.placement.add_ready(class_id, [new.as_ready()])
    return job_id, True


def _check_submit(submit: Submit) -> None:
    check_common(submit)
    if submit.key is not None and not 0 < len(submit.key) <= _MAX_KEY:
        raise BadRequest(f"key must have 1 to {_MAX_KEY} characters")
    if len(submit.after) > 1000:
        raise BadRequest(f"{len(submit.after)} dependencies; a job can have at most 1000")
    if "\0" in (submit.key or ""):
        raise BadRequest("key must not have a NUL character")
    if submit.command == RUN and submit.run is None:
        raise BadRequest(
            'command "run" needs a program: `mythjobs run --detach -- PROGRAM` submits one (in the '
            "API: run)"
        )
    if submit.command != RUN and submit.run is not None:
        raise BadRequest(f'run: only command "run" takes a program, not "{submit.command}"')
    if submit.run is not None and submit.arguments:
        raise BadRequest('arguments: command "run" has no parameters; add them to argv')


def check_common(submit: Submit | BatchSubmit) -> None:
    """Check the fields that single and batch submits share. Raises BadRequest."""
    check_priority(submit.priority)
    if len(submit.comment) > _MAX_COMMENT:
        raise BadRequest(f"comment must have at most {_MAX_COMMENT} characters")
    if "\0" in submit.comment:
        raise BadRequest("comment must not have a NUL character")
    if submit.deadline_ms is not None and submit.deadline_ms < (submit.not_before_ms or 0):
        raise BadRequest(DEADLINE_BEFORE_START)
    if submit.machine and submit.prefer not in ("", submit.machine):
        raise BadRequest(
            f"prefer: has no effect, because the job runs only on {submit.machine}; give either a "
            "machine to run on, or one to prefer"
        )


def check_machine_joined(state: MasterState, submit: Submit | BatchSubmit) -> None:
    """Raise NoSuchMachine if a submit names an only machine that has not joined, unless its job
    shall wait for that: a name that nobody has is most likely a mistake, and the job would wait for
    ever."""
    if not submit.machine or submit.await_machine:
        return
    joined = {each.name for each in state.machines.values() if not each.is_revoked}
    if submit.machine not in joined:
        sentence = machine_not_found(submit.machine, joined).sentence
        raise NoSuchMachine(
            f"{sentence}; to let the job wait until a machine of this name joins, add "
            "--await-machine (in the API: await_machine)"
        )


def check_priority(priority: int) -> int:
    """Return the priority. Raises BadRequest if it is out of range."""
    if not -100 <= priority <= 100:
        raise BadRequest(f"priority {priority} is not between -100 and 100")
    return priority


def job_requirements(submit: Submit | BatchSubmit, prefer: str = "") -> JobRequirements:
    """Return the requirements that a submit gives for its jobs. Raises BadRequest.

    prefer: preferred machine, used if the submit itself names none.
    """
    run = submit.run if isinstance(submit, Submit) else None
    is_best_effort = run is not None and run.best_effort
    if not (submit.machine or submit.prefer or prefer or submit.labels or submit.semaphores):
        if not (submit.limits or is_best_effort):
            return NO_REQUIREMENTS
    for name in (submit.machine, submit.prefer):
        if len(name) > MAX_NAME_LENGTH:
            raise BadRequest(f"a machine's name has at most {MAX_NAME_LENGTH} characters")
    read_bounds(submit.limits)
    requirements = JobRequirements(
        submit.machine,
        submit.prefer or prefer,
        read_labels({"labels": submit.labels}),
        read_semaphores(submit.semaphores),
        tuple(sorted(submit.limits.items())),
        is_best_effort,
    )
    size = sum(len(each.encode()) for each in requirements.columns().values())
    if size > MAX_REQUIREMENT_BYTES:
        raise BadRequest(
            f"the machines, labels, semaphores and limits of the job have {size} bytes, and at "
            f"most {MAX_REQUIREMENT_BYTES} are allowed; define them in the command instead"
        )
    return requirements


def find_file_machine(turn: TurnContext, subject: str | None) -> str:
    """Return the name of the machine that stores the file `subject`, or "".

    It is the machine whose policy lists the longest directory above the file in `files`.
    """
    if subject is None or not subject.startswith("/"):
        return ""
    longest, name = 0, ""
    for machine in turn.state.machines.values():
        for each in machine.policy.files:
            if len(each) > longest and subject.startswith(each.rstrip("/") + "/"):
                longest, name = len(each), machine.name
    return name


def encode_arguments(command: Command, submit: Submit) -> tuple[str, str | None]:
    """Return a job's arguments as the store's JSON, and its subject. Raises BadRequest."""
    if submit.run is not None:
        _check_run(submit.run)
        return msgspec.json.encode(submit.run).decode(), _check_subject(submit.subject)
    return encode_job_arguments(command, submit.arguments, submit.subject)


def encode_job_arguments(
    command: Command, given: dict[str, str | int | float], subject: str | None
) -> tuple[str, str | None]:
    """Return a job's arguments as the store's JSON, and its subject.

    Raises BadRequest that names the invalid parameter.
    """
    values = check_arguments(command, given)
    if subject is None and command.subject:
        subject = parse_template(command.subject).fill(values)
    return msgspec.json.encode(values).decode(), _check_subject(subject)


def _check_subject(subject: str | None) -> str | None:
    if subject is not None and (size := len(subject.encode())) > MAX_SUBJECT_BYTES:
        raise BadRequest(
            f"the subject has {size} bytes, and at most {MAX_SUBJECT_BYTES} are allowed; "
            "use a shorter name for what the job is about"
        )
    if "\0" in (subject or ""):
        raise BadRequest("subject must not have a NUL character")
    return subject or None


def _check_run(run: AdHocRun) -> None:
    if not run.argv or not run.argv[0]:
        raise BadRequest("no program to run is given")
    if not run.cwd.startswith("/"):
        raise BadRequest(f'working directory "{run.cwd}" is not an absolute path')
    texts = [*run.argv, *(f"{name}={value}" for name, value in run.env.items())]
    if any("\0" in each for each in texts):
        raise BadRequest("an argument or environment variable has a NUL character")
    if any("=" in name or not name for name in run.env):
        raise BadRequest('an environment variable has an empty name, or "=" in its name')
    sizes = [len(each.encode()) for each in texts]
    if max(sizes) > MAX_ARGUMENT_BYTES or sum(sizes) > _MAX_RUN_BYTES:
        raise BadRequest(
            f"arguments and environment have {sum(sizes)} bytes, the longest {max(sizes)}; "
            f"the system takes {_MAX_RUN_BYTES} in all and {MAX_ARGUMENT_BYTES} each"
        )
    if run.wall_s is not None and run.wall_s <= 0:
        raise BadRequest("the wall limit must be greater than 0")
    if run.wall_s is not None and run.wall_s > MAX_DURATION_S:
        raise BadRequest(f"the wall limit must be at most {MAX_DURATION_S:.0f} s, which is 36500d")
    try:
        check_setting(run.progress)
    except ValueError as error:
        raise BadRequest(f"progress {error}") from None


def _dependency_states(
    turn: TurnContext, after: list[Dependency]
) -> list[tuple[Dependency, JobState]]:
    """Return each dependency, once, with the state of the job that must end first.

    Raises BadRequest for an unknown job, and for two different dependencies on the same job.
    """
    if not after:
        return []
    turn.flush_new_jobs()
    # Scripts give a job twice if they submit with keys: two submits may return the same job.
    after = list(dict.fromkeys(after))
    found = jobs.read_flags(turn.tx, [each.job for each in after])
    for each in after:
        if each.job not in found or found[each.job].hold == batches.HOLD_UNOPENED:
            raise BadRequest(f"dependency: there is no job {each.job}")
    whens: dict[int, str] = {}
    for each in after:
        if (when := whens.setdefault(each.job, each.when)) != each.when:
            raise BadRequest(
                f'dependency: job {each.job} is given as "{when}" and as "{each.when}"; give one'
            )
    return [(each, JobState(found[each.job].state)) for each in after]


def _has_failed(after: Dependency, state: JobState) -> bool:
    return state in FINAL and not dependencies.accepts(after.when, state)


def _add_dependencies(
    turn: TurnContext, job_id: int, after: list[tuple[Dependency, JobState]], *, is_serial: bool
) -> None:
    if after:
        rows = [
            (job_id, each.job, dependencies.SERIAL if is_serial else each.when, state in FINAL)
            for each, state in after
        ]
        dependencies.add(turn.tx, rows)
        if any(state not in FINAL for _, state in after):
            turn.state.has_open_dependencies = True
