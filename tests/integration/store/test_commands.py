"""Commands, revisions, job classes, machines, overrides and semaphores."""

from __future__ import annotations

import pytest

from mythjobs.model.command import RUN
from mythjobs.model.machine_policy import ALLOW_NOTHING
from mythjobs.store.open import Store
from mythjobs.store.writes import commands, machines, overrides, semaphores
from mythjobs.store.writes.overrides import EVERY_COMMAND, OverrideRow
from tests.support import queue as q


def test_a_new_revision_is_what_new_jobs_get_and_the_old_one_stays_readable(store: Store) -> None:
    with store.transaction() as tx:
        first = q.define_command(tx, "copy")
        second = q.define_command(tx, "copy", summary="better")
        assert (first.number, second.number) == (1, 2)
        assert first.command_id == second.command_id
        assert commands.find_by_name(tx, "copy") == second
        assert commands.find_by_revision(tx, first.revision_id) == first
        assert commands.find_by_revision(tx, 99) is None


def test_the_built_in_command_is_defined_once(store: Store) -> None:
    with store.transaction() as tx:
        commands.ensure_run_command(tx, at_ms=q.NOON)
        commands.ensure_run_command(tx, at_ms=q.NOON)
        found = commands.find_by_name(tx, RUN)
    assert found is not None
    assert found.number == 1


def test_a_removed_name_is_free_and_its_id_is_not_reused(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_job(tx, command="copy")
        old = commands.find_by_name(tx, "copy")
        assert old is not None
        assert commands.count_open_jobs(tx, old.command_id) == 0  # counted at the commit
    with store.transaction() as tx:
        assert commands.count_open_jobs(tx, old.command_id) == 1
        commands.remove(tx, old.command_id)
        assert commands.find_by_name(tx, "copy") is None
        assert q.define_command(tx, "copy").command_id == old.command_id + 1


def test_a_command_is_disabled_and_put_off(store: Store) -> None:
    with store.transaction() as tx:
        made = q.define_command(tx, "copy")
        assert commands.read_disabled(tx) == []
        commands.set_enabled(tx, made.command_id, False)
        commands.put_off(tx, made.command_id, q.NOON + 60, "NAS offline")
        assert commands.read_disabled(tx) == [made.command_id]
        assert commands.read_put_off(tx) == [(made.command_id, q.NOON + 60, "NAS offline")]
        commands.put_off(tx, made.command_id, None, "")
        assert commands.read_put_off(tx) == []


def test_jobs_with_equal_requirements_share_a_class(store: Store) -> None:
    with store.transaction() as tx:
        made = q.define_command(tx)
        plain = commands.ensure_class(tx, made, "anna")
        pinned = commands.ensure_class(tx, made, "anna", pin="attic", labels='["gpu"]')
        assert commands.ensure_class(tx, made, "anna") == plain
        assert commands.ensure_class(tx, made, "anna", pin="attic", labels='["gpu"]') == pinned
        assert len({plain, pinned, commands.ensure_class(tx, made, "bert")}) == 3
        assert commands.read_class(tx, pinned) == (
            pinned, made.command_id, made.revision_id, "anna", "attic", "", '["gpu"]', "", "",
        )  # fmt: skip


def test_a_machine_is_identified_by_its_key_and_gets_a_unique_name(store: Store) -> None:
    with store.transaction() as tx:
        names = [
            machines.enrol(
                tx,
                name="attic",
                key=key,
                rights=ALLOW_NOTHING.to_json(),
                cores=2,
                boot_id="b",
                at_ms=1,
            ).name
            for key in ("a", "b", "c")
        ]
        assert names == ["attic", "attic-2", "attic-3"]
    with pytest.raises(Exception, match=r"(?i)unique"), store.transaction() as tx:
        machines.enrol(
            tx, name="other", key="a", rights=ALLOW_NOTHING.to_json(), cores=2, boot_id="b", at_ms=1
        )


def test_a_machines_own_data_and_its_settings_are_stored_separately(
    store: Store,
) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        machines.attach(tx, q.ATTIC, boot_id="second", cores=8, zone="Europe/Berlin", at_ms=q.NOON)
        machines.set_policy(tx, q.ATTIC, rights=ALLOW_NOTHING.to_json(), jobs=3)
        machines.set_settings(tx, q.ATTIC, settings='{"jobs": 3}', zone="Europe/Rome")
        attic, cellar = machines.read_all(tx)
    assert (attic.boot_id, attic.cores, attic.jobs) == ("second", 8, 3)
    assert (attic.settings, attic.zone) == ('{"jobs": 3}', "Europe/Rome")
    assert (cellar.boot_id, cellar.jobs, cellar.settings) == ("boot", None, "{}")


def test_durations_are_stored_by_command_and_machine(store: Store) -> None:
    with store.transaction() as tx:
        machines.record_footprints(tx, [(1, 1, 1, 500), (1, 2, 1, 900)])
        machines.record_footprints(tx, [(1, 1, 2, 400)])
        assert machines.read_footprints(tx) == {(1, 1): (2, 400), (1, 2): (1, 900)}


def test_the_newest_override_applies_until_it_expires(store: Store) -> None:
    with store.transaction() as tx:
        overrides.save(tx, OverrideRow(1, EVERY_COMMAND, "pause", 100))
        overrides.save(tx, OverrideRow(1, 7, "allow", 300))
        overrides.save(tx, OverrideRow(1, EVERY_COMMAND, "allow", 200))
        assert overrides.read_all(tx) == [
            OverrideRow(1, EVERY_COMMAND, "allow", 200),
            OverrideRow(1, 7, "allow", 300),
        ]
        overrides.remove_expired(tx, 200)
        assert overrides.read_all(tx) == [OverrideRow(1, 7, "allow", 300)]
        overrides.remove(tx, 1, 7)
        assert overrides.read_all(tx) == []


def test_a_semaphore_has_one_size(store: Store) -> None:
    with store.transaction() as tx:
        semaphores.save(tx, "nas", 3)
        semaphores.save(tx, "nas", 2)
        semaphores.save(tx, "cpu", 0)
        assert semaphores.read_all(tx) == {"cpu": 0, "nas": 2}
        semaphores.remove(tx, "nas")
        assert semaphores.read_all(tx) == {"cpu": 0}
