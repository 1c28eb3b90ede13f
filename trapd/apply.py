"""Carry out actions, each with one call on a contract. No policy: the plan has decided why and when."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from trapd.contracts import Backend
from trapd.errors import BackendError
from trapd.event import Event, EventKind
from trapd.model import InstanceId, InstanceState
from trapd.rollout.actions import Action, Drain, Effect, Forget, Interrupt, Kill, Plan, Start
from trapd.rollout.events import journal_fields, of_action
from trapd.rollout.view import PoolView

log = logging.getLogger("trapd.controller")
LOUD = {
    **dict.fromkeys(("interrupt", "kill", "relieve"), logging.WARNING),
    **dict.fromkeys(("reject", "fail", "doubt"), logging.ERROR),
}  # verbs that are logged as more than information

Attempt = tuple[str, InstanceId | None]  # verb and instance


class Orders:
    """The orders of one pool's plans. ``refused``: the errors of the backend in the last pass, by verb and instance.
    ``interrupted``: see World; at first as the trapd before left the workers."""

    def __init__(
        self, backend: Backend, record: Callable[[Event], None], interrupted: Mapping[InstanceId, float]
    ) -> None:
        self.refused: dict[Attempt, str] = {}
        self.interrupted = dict(interrupted)
        self._backend, self._record = backend, record

    async def carry_out(self, view: PoolView, planned: Plan) -> tuple[Action, ...]:
        """Carry out the actions of a plan; return those that were carried out. An error that repeats in the same words
        is not recorded again: it may repeat for weeks."""
        draining = {instance.id for instance in view.instances if instance.state is InstanceState.DRAINING}
        self.interrupted = {id: at for id, at in self.interrupted.items() if id in draining}
        before, refused, done = self.refused, dict[Attempt, str](), list[Action]()
        for action in planned.actions:
            fields = {"fields": journal_fields(view.state, action)}
            name = view.spec.name
            log.log(LOUD.get(action.verb, logging.INFO), "%s: %s", name, action, extra=fields)
            if not isinstance(action, Start | Drain | Interrupt | Kill | Forget):
                continue
            attempt = (action.verb, action.instance)
            try:
                reached = await carry_out(self._backend, action)
            except BackendError as error:
                log.error("%s: %s", name, error, extra=fields)
                if before.get(attempt) != str(error):
                    self._record(replace(of_action(action, view), kind=EventKind.ERROR, reason=str(error)))
                refused[attempt] = str(error)
            else:
                done.append(action)
                if isinstance(action, Interrupt):
                    self.interrupted[action.instance] = view.at if reached else -math.inf
                if attempt in before:
                    self._record(of_action(action, view))
        self.refused = refused
        return tuple(done)


async def carry_out(backend: Backend, effect: Effect) -> bool:
    """Call the backend. Returns False if an interruption reached no task. Raises BackendError if the call fails; the
    next pass looks again."""
    match effect:
        case Start():
            await backend.start(effect.instance)
        case Drain():
            await backend.drain(effect.instance)
        case Interrupt():
            return await backend.interrupt(effect.instance)
        case Kill():
            await backend.kill(effect.instance)
        case Forget():
            await backend.forget(effect.instance)
        case _:
            assert_never(effect)
    return True
