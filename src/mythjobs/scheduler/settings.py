"""Settings of a job class on a machine: its hours and limits, combined from all who set them."""

from __future__ import annotations

from mythjobs.model.bounds import NO_BOUNDS, Bounds
from mythjobs.model.command import Command
from mythjobs.model.machine_policy import MachinePolicy, combined_hours, combined_limits
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy
from mythjobs.model.window import Overrides
from mythjobs.model.zone import load_zone
from mythjobs.scheduler.eligibility import EffectiveSettings


def combine_settings(
    command: Command,
    policy: MachinePolicy,
    zone: str,
    job_limits: Bounds = NO_BOUNDS,
    overrides: Overrides = (),
    own: OwnPolicy = NO_OWN_POLICY,
) -> EffectiveSettings:
    """Return the hours and limits of a command's job on a machine.

    zone: the machine's own time zone, used if its policy names none. own: the machine's own
    policy.
    """
    settings = EffectiveSettings(
        combined_hours(command, policy, zone, overrides, own.windows),
        combined_limits(command, policy, job_limits, own.limits),
    )
    if settings.hours is not None:
        try:
            load_zone(settings.hours.zone)
        except ValueError as error:
            return settings._replace(hours_error=f"cannot evaluate its hours: {error}")
    return settings
