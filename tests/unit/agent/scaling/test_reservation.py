"""Room that is kept for a job that has waited long."""

from __future__ import annotations

from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.counters import MIB
from mythjobs.agent.scaling.footprint import Footprint
from tests.unit.agent.scaling.machine import GIB, Machine, known


def test_others_leave_room_for_a_job_that_has_waited_long() -> None:
    machine = Machine(ScalingController(4, 16 * GIB))
    controller = machine.controller
    known(
        controller,
        big=Footprint(3, 1.0, 12 * GIB, 600.0),
        small=Footprint(3, 0.5, 2 * GIB, 600.0),
        copy=Footprint(3, 0.1, MIB, 600.0, 0.0, {"sda": 1.0}),
    )
    machine.step()
    machine.start((1, 1), "small")
    machine.use((1, 1), cpu=0.5, memory=2 * GIB)
    machine.step(free=14 * GIB)
    assert controller.count_room("small") > 1
    controller.reserved = frozenset({"big"})
    # 12 of 14 GiB are kept. A copy, which needs no memory, still has room.
    assert controller.count_room("small") == 0
    refusal = controller.find_refusal("small")
    assert refusal is not None
    assert refusal.sentence == "room is kept for a job that has waited longer"
    assert controller.count_room("copy") == 1
    assert controller.count_room("big") == 1
    # Nor does another job take an idle machine, as far as the master asks.
    machine.end((1, 1), 10.0)
    machine.step(free=16 * GIB)
    assert controller.count_room("small") == 1
    known(controller, small=Footprint(3, 0.5, 6 * GIB, 600.0))
    assert controller.count_room("small") == 0
    assert controller.find_refusal("small") is None
