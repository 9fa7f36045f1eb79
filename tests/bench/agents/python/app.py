"""The benchmark's agent in Python, on the bare contract: told a number, it streams that many pieces and adds one to
its counter."""

import json

from wit_world import exports
from wit_world.imports import state, updates

# The same piece as everybody's.
PIECE = "0123456789 "
ITEM = "text"


def add() -> None:
    count = state.get("/count")
    if count is None:
        operation = {"op": "add", "path": "/count", "value": 1}
    else:
        operation = {"op": "replace", "path": "/count", "value": json.loads(count) + 1}
    state.apply(json.dumps([operation]))


class Lifecycle(exports.Lifecycle):
    async def describe(self):
        return exports.lifecycle.Description(
            hooks=exports.lifecycle.Hooks.ON_MESSAGE, state_schema_version=1, config_schema=None, config_default=None
        )

    async def on_init(self):
        pass

    async def on_message(self, message):
        pieces = int(message.text)
        for _ in range(pieces):
            updates.emit(updates.Element_TextDelta(updates.TextDelta(item=ITEM, text=PIECE)))
        updates.emit(updates.Element_TextFinal(updates.TextFinal(item=ITEM, text=PIECE * pieces)))
        add()

    async def on_steer(self, message):
        pass

    async def on_config_change(self, changes, source):
        pass

    async def on_idle(self):
        return True

    async def on_shutdown(self, reason):
        pass

    async def migrate(self, from_state_schema_version):
        pass
