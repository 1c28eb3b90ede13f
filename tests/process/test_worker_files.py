"""An application with ``filesystem://`` in settings of its own, whose submitters use kombu as it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.brokers import Broker
from tests.support.worker_lab import WorkerLab, client_warnings, wait

pytestmark = client_warnings


async def test_a_worker_waits_until_a_message_is_whole_and_goes_on_with_others(short_path: Path) -> None:
    folder = short_path / "messages"
    folder.mkdir()
    options = {"data_folder_in": str(folder), "data_folder_out": str(folder), "control_folder": str(short_path / "c")}
    broker = Broker(
        "files",
        f"broker_url = 'filesystem://'\nresult_backend = 'file://{short_path}'\n"
        f"broker_transport_options = {options | {'polling_interval': 0.1}}\n",
        "celery",
    )
    lab, ledger = WorkerLab(short_path, broker), short_path / "ledger"

    async with lab:
        sent = await lab.send("nap", 0, str(ledger))
        [path] = await asyncio.to_thread(lambda: list(folder.glob("*.celery.msg")))
        text = path.read_text()
        assert json.loads(text)["headers"]["id"] == sent.id
        path.write_text("")  # as kombu leaves it for a moment
        await lab.start()
        assert await lab.call("nap", 0)
        path.write_text(text[: len(text) // 2])
        assert await lab.call("nap", 0)
        assert not ledger.exists()
        path.write_text(text)
        await lab.result(sent)
        await asyncio.to_thread(wait, lambda: not list(folder.glob("*.celery.msg*")))
        await lab.drain()
