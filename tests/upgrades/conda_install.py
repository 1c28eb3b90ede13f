"""Install a conda package from a channel, which is a folder: ``python conda_install.py CHANNEL PREFIX SPEC``

It runs where `py-rattler` is on the path, the library by which pixi installs: no conda can be had without its channels.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import rattler
from rattler.index import index_fs


async def install(channel: Path, prefix: Path, spec: str) -> None:
    """Solve and link as `conda install` does; what is in the prefix and not of conda stays."""
    await index_fs(channel, force=True)
    records = await rattler.solve([rattler.Channel(channel.as_uri())], [spec], platforms=["linux-64", "noarch"])
    await rattler.install(records, prefix, cache_dir=channel.with_name("cache"), show_progress=False)


if __name__ == "__main__":
    asyncio.run(install(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
    os._exit(0)  # py-rattler 0.28's threads crash an interpreter that ends: 7 of 25 runs, each with all installed
