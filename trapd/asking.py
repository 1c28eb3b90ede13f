"""Ask the workers of a pool for their accounts, if its new code is on trial."""

from __future__ import annotations

from collections.abc import Mapping

from trapd.contracts import Accounts, Asked
from trapd.model import InstanceId
from trapd.rollout.trial import questions
from trapd.rollout.world import World
from trapd.work import Work


async def works(accounts: Accounts, world: World, now: float) -> Mapping[InstanceId, Work]:
    """Return the accounts of those that are asked and answer; of nobody if nothing is on trial."""
    pids = {instance.id: instance.pid for instance in world.instances}
    asked = [(id, Asked(id.name, pid, marks)) for id, marks in questions(world, now).items() if (pid := pids[id])]
    answers = await accounts.works([question for _, question in asked]) if asked else ()
    return {id: work for (id, _), work in zip(asked, answers, strict=True) if not work.unanswered}
