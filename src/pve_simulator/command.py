"""`pve-simulator`: serves simulated Proxmox VE servers on loopback."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import itertools
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pve_simulator import api, versions
from pve_simulator.clock import Clock
from pve_simulator.errors import SimulatorError
from pve_simulator.listener import BACKLOG, Listener
from pve_simulator.persistence import Keeper
from pve_simulator.server import Server
from pve_simulator.worlds import WORLDS, make, sized, standing_faults

DESCRIPTION = (
    "Serves a simulated Proxmox VE on loopback. Beside it: `pve-simulator compare --help` asks a real server what was recorded; "
    "`pve-simulator endpoints [acts|answers|refuses]` lists what is simulated."
)
ATTEMPTS = 50  # to find free ports in a row


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's entry: serves until SIGINT or SIGTERM, or carries out what its first word names."""
    told = list(sys.argv[1:] if arguments is None else arguments)
    if told[:1] in (["compare"], ["endpoints"]):
        return side_command(told[0], told[1:])
    options = parser().parse_args(told)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    api.load()
    try:
        return asyncio.run(serve(options))
    except KeyboardInterrupt:
        return 130
    except (OSError, SimulatorError) as fault:
        print(f"pve-simulator: {fault}", file=sys.stderr)  # noqa: T201 - a command speaks on standard error
        return 1


def side_command(name: str, told: list[str]) -> int:
    """`compare` and `endpoints`, which serve nothing."""
    from pve_simulator import endpoints
    from pve_simulator.comparison import command

    if name == "endpoints":
        print(endpoints.listing(told or endpoints.KINDS))  # noqa: T201 - what was asked for
        return 0
    try:
        return command.main(told, functools.partial(print, flush=True))
    except SimulatorError as fault:
        print(f"pve-simulator compare: {fault}", file=sys.stderr)  # noqa: T201 - a command speaks on standard error
        return 2


def parser() -> argparse.ArgumentParser:
    """The options, as other programs rely on them."""
    made = argparse.ArgumentParser(prog="pve-simulator", description=DESCRIPTION)
    made.add_argument("--port", type=int, required=True, help="port of the first server; 0 takes a free one")
    made.add_argument("--nodes", type=at_least_one, help="nodes per server (default: the world's; 1)")
    made.add_argument("--guests", type=int, help="VMs and containers per server (default: the world's; 20)")
    made.add_argument("--templates", type=int, help="templates per server, on top (default: the world's; 2)")
    made.add_argument("--seed", type=int, default=1, help="what the default world is made from (default 1)")
    made.add_argument("--servers", type=at_least_one, help="servers on consecutive ports (default: the world's; 1)")
    made.add_argument("--speed", type=positive, default=1.0, help="what lasts takes 1/SPEED of its time (default 1)")
    worlds = "; ".join(f"{name}: {world.text}" for name, world in WORLDS.items())
    made.add_argument("--world", default="default", choices=tuple(WORLDS), help=f"which world to begin with. {worlds}")
    made.add_argument(
        "--node-ports", action="store_true", help="every node on a port and with a certificate of its own"
    )
    made.add_argument("--version", dest="versions", type=known_versions, help="8.4, 9.0 or 9.1 (default)")
    made.add_argument("--versions", type=known_versions, help="versions of the servers in turn, e.g. 8.4,9.0,9.1")
    made.add_argument("--node-versions", type=known_versions, help="versions of each server's nodes in turn")
    made.add_argument("--state", type=Path, help="folder that keeps the world over restarts")
    return made


def known_versions(text: str) -> list[str]:
    """Versions with commas between them; raises ValueError, which argparse words."""
    return [versions.version(name).name for name in text.split(",")]


def at_least_one(text: str) -> int:
    """A count; raises ValueError, which argparse words."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """A factor above 0; raises ValueError, which argparse words."""
    if not float(text) > 0:
        raise ValueError(text)
    return float(text)


async def serve(options: argparse.Namespace) -> int:
    """Serves until a signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    keeper = Keeper(options.state)
    servers, listeners = build(options, keeper)
    keeper.save(servers)
    for server in servers:
        server.start()
    for listener in listeners:
        listener.start()
    keeping = loop.create_task(keeper.run(servers))
    gc.collect()
    gc.freeze()  # a world of 100,000 guests is not to be walked again by every collection
    print(json.dumps(announcement(servers)), flush=True)  # noqa: T201 - the one line that is the command's result
    await stop.wait()
    for listener in listeners:
        await listener.stop()
    for server in servers:
        await server.stop()
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    keeper.save(servers)
    return 0


def build(options: argparse.Namespace, keeper: Keeper) -> tuple[list[Server], list[Listener]]:
    """Servers and their ports: every server's first address, then those of further nodes."""
    servers = [build_one(options, keeper, number) for number in range(options.servers or WORLDS[options.world].servers)]
    served = [(server, server.proxy) for server in servers]
    if options.node_ports:
        for number, server in enumerate(servers):
            server.proxies = keeper.proxies(number, server)
            served += [(server, proxy) for proxy in server.proxies.values() if proxy is not server.proxy]
    bound = ports(options.port, len(served))
    listeners = [Listener(server, proxy, socket) for (server, proxy), socket in zip(served, bound, strict=True)]
    by_port = {proxy.port: (server, proxy) for server, proxy in served}
    for server in servers:
        server.neighbours = by_port
    return servers, listeners


def build_one(options: argparse.Namespace, keeper: Keeper, number: int) -> Server:
    """A server with its world, kept or fresh."""
    plan = sized(options.world, options.nodes, options.guests, options.templates, options.seed, number)
    estate = keeper.estate(number) or make(plan)
    for node, name in zip(estate.nodes.values(), itertools.cycle(node_versions(options, number))):
        if name:
            node.facts[versions.VERSION] = name
    server = Server(estate, Clock(options.speed), keeper.certificates(number))
    server.faults.add(standing_faults(plan.world))
    return server


def node_versions(options: argparse.Namespace, number: int) -> list[str]:
    """The versions of a server's nodes, to be gone through again and again; empty where nothing was said."""
    if options.node_versions:
        return options.node_versions
    return [options.versions[number % len(options.versions)]] if options.versions else [""]


def ports(first: int, count: int) -> list[socket.socket]:
    """Sockets on consecutive ports; `first` 0 looks for as many free ones in a row. Raises OSError."""
    for attempt in range(ATTEMPTS):
        bound: list[socket.socket] = []
        try:
            for number in range(count):
                port = bound[0].getsockname()[1] + number if bound else first
                bound.append(socket.create_server(("127.0.0.1", port), backlog=BACKLOG))
        except OSError:
            for taken in bound:
                taken.close()
            if first or attempt == ATTEMPTS - 1:
                raise
        else:
            return bound
    raise AssertionError("the last attempt returns or raises")


def announcement(servers: list[Server]) -> dict[str, Any]:
    """The line that tells a program all it needs."""
    each = [describe(server) for server in servers]
    return {**each[0], "servers": each}


def describe(server: Server) -> dict[str, Any]:
    """Address, certificate, credentials and templates of one server."""
    estate = server.estate
    credentials = {user.id: user.password for user in estate.users.values() if user.password}
    for user in estate.users.values():
        credentials |= {f"{user.id}!{token.name}": token.secret for token in user.tokens.values()}
    named = {"full": "admin@pve!full", "sep": "admin@pve!sep", "none": "low@pve!none"}
    return {
        "url": server.proxy.url,
        "fingerprint": server.certificates.fingerprint,
        "tokens": {name: {"id": who, "secret": credentials[who]} for name, who in named.items() if who in credentials},
        "templates": sorted(guest.vmid for guest in estate.guests.values() if guest.template),
        "credentials": credentials,
    } | nodes(server)


def nodes(server: Server) -> dict[str, Any]:
    """Where each node is reached and what it shows there, where each has an address of its own."""
    if not server.proxies:
        return {}
    return {
        "nodes": {name: proxy.url for name, proxy in server.proxies.items()},
        "fingerprints": {name: proxy.certificates.fingerprint for name, proxy in server.proxies.items()},
        "authority": server.certificates.authority_pem.decode(),
    }


if __name__ == "__main__":
    sys.exit(main())
