# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m ontapsim --config FILE``."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

import click

from .config import Config, ConfigError, load
from .control_server import Control
from .server import Server
from .simulator import Simulator
from .storage import StorageError


@click.command()
@click.option("--config", "config_file", required=True, type=click.Path(exists=True, dir_okay=False), help="JSON file.")
def main(config_file: str) -> None:
    """Serve the simulated array until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        config = load(json.loads(Path(config_file).read_text(encoding="utf-8")))
        asyncio.run(_serve(config))
    except (ConfigError, StorageError, KeyError, OSError, json.JSONDecodeError) as exc:
        raise click.ClickException(f"{config_file}: {exc!r}") from exc


async def _serve(config: Config) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    simulator = Simulator(config)
    server, control = Server(simulator), Control(simulator)
    await server.start()
    if config.control_socket:
        await control.start(config.control_socket)
    await simulator.exports_changed()
    await simulator.san_changed()
    logging.getLogger("ontapsim").info("serving on %s", simulator.ports)
    await stopping.wait()
    await control.stop()
    await server.stop()
    await simulator.stop()


if __name__ == "__main__":
    main()
