"""`mythjobs cancel`, `hold`, `release`, `pause` and `resume`: actions on existing jobs."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs.cli.job_selection import (
    LIVE,
    OPEN,
    JobAction,
    JobSelection,
    apply_action,
    selection_options,
)
from mythjobs.cli.session import Session, command, pass_session

_CANCEL: Final = JobAction("cancel", "cancelled or being cancelled", OPEN)
_HOLD: Final = JobAction("hold", "held", ("queued",))
_RELEASE: Final = JobAction("release", "released", ("queued",))
_PAUSE: Final = JobAction("pause", "pausing", LIVE)
_RESUME: Final = JobAction("resume", "resuming", LIVE)


@command(
    "cancel",
    epilog="Examples:\n  mythjobs cancel 42 50-60\n"
    "  mythjobs cancel --command transcode-h264 --state queued\n  mythjobs cancel --batch 7 --yes",
)
@selection_options
@pass_session
def cancel(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Cancel jobs. Running jobs get SIGTERM, and SIGKILL after the grace period."""
    return apply_action(session, _CANCEL, JobSelection(**selection), yes, as_json)


@command("hold", epilog="Example:\n  mythjobs hold --command transcode-h264")
@selection_options
@pass_session
def hold(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Hold queued jobs until they are released. Running jobs continue."""
    return apply_action(session, _HOLD, JobSelection(**selection), yes, as_json)


@command(
    "release",
    epilog="Examples:\n  mythjobs release --command transcode-h264\n  mythjobs release --lost",
)
@selection_options
@click.option(
    "--lost", is_flag=True, help="Jobs that are held because they were lost too often in a row."
)
@pass_session
def release(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Release held jobs."""
    return apply_action(session, _RELEASE, JobSelection(**selection), yes, as_json)


@command("pause", epilog="Example:\n  mythjobs pause 42")
@selection_options
@pass_session
def pause(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Pause running jobs until they are resumed.

    Paused jobs keep their memory and their slot and use no CPU. Their time limits are suspended.
    """
    return apply_action(session, _PAUSE, JobSelection(**selection), yes, as_json)


@command("resume", epilog="Example:\n  mythjobs resume 42")
@selection_options
@pass_session
def resume(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Resume paused jobs."""
    return apply_action(session, _RESUME, JobSelection(**selection), yes, as_json)
