"""Ray: a cluster that is there, or one of this machine alone.

Addresses are `ray` (a cluster of its own is started here and ends with the process),
`ray://HOST:PORT` (a Ray Client server, usually on port 10001), and `ray://auto` (the cluster that
this machine is a part of).
"""

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from importlib import metadata
from typing import Any, NamedTuple

from qmu.errors import ConfigError, lacking

HERE, AUTO, SCHEME = "ray", "ray://auto", "ray://"
# Seconds in which an address has to answer.
WAIT = 10.0
# Seconds in which a cluster starts a process.
PATIENCE = 60.0
# Bytes that a cluster of this machine keeps messages in.
SHARED_MEMORY = 256 * 2**20
# It listens to this machine only (Ray's name of the variable is from where it was first needed),
# and tells nobody that it is used.
OF_ITS_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster(NamedTuple):
    """What a cluster has for programs, and whether it is this machine's own."""

    cpus: int
    gpus: int
    own: bool


def connect(address: str, option: str, processors: int) -> Cluster:
    """Connect this process to a cluster, or start one on this machine with so many processors.

    A connection that is there already is used again.

    Raises:
        ConfigError: Ray is not installed, nobody answers at the address, or what answers cannot
            train (another version of Python, Ray or qmu, other tokens).
    """
    if address == HERE:
        os.environ |= OF_ITS_OWN
    ray = imported(option)
    if not ray.is_initialized():
        before = signal_handlers()
        try:
            if address == HERE:
                start(ray, processors)
            else:
                join(ray, address, option)
        finally:
            put_back(before)
    if address != HERE:
        check_nodes(ray, address, option)
    there = ray.cluster_resources()
    return Cluster(int(there.get("CPU", 0)), int(there.get("GPU", 0)), address == HERE)


def imported(option: str) -> Any:
    """Return the package `ray`. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise lacking(option, "ray", error) from None


def check_address(address: str, option: str) -> None:
    """Raise ConfigError if this is no address of a cluster."""
    host, _, port = address.removeprefix(SCHEME).rpartition(":")
    if address in (HERE, AUTO) or (address.startswith(SCHEME) and host and port.isdecimal()):
        return
    raise ConfigError(
        f"{option} {address}: give `ray` (this machine alone), ray://HOST:PORT (the Ray Client "
        "server of a cluster, whose port is 10001 if nobody has changed it), or ray://auto (the "
        "cluster that this machine is a part of)"
    )


def start(ray: Any, processors: int) -> None:
    """Start a cluster of this machine alone, which only this machine can reach."""
    ray.init(
        address="local",
        num_cpus=processors,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=SHARED_MEMORY,
    )


def join(ray: Any, address: str, option: str) -> None:
    """Connect to a cluster that is there.

    Raises:
        ConfigError: it does not answer within ten seconds, or cannot be talked to.
    """
    if address != AUTO:
        host, _, port = address.removeprefix(SCHEME).rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), WAIT).close()
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise ConfigError(
                f"{option} {address}: nobody answers there ({why}). Is the cluster up, and is its "
                "Ray Client server at this address (`ray start --head` starts one at port 10001)?"
            ) from None
        check_speaks(host, port, f"{option} {address}")
    found: list[BaseException | None] = []

    def attempt() -> None:
        try:
            ray.init(
                "auto" if address == AUTO else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            found.append(None)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not found:
        raise ConfigError(f"{option} {address}: the cluster starts no driver in {PATIENCE:.0f} s")
    if found[0] is not None:
        first = str(found[0]).strip().partition("\n")[0]
        raise ConfigError(f"{option} {address}: {first}") from None


def check_speaks(host: str, port: str, wanted: str) -> None:
    """Raise ConfigError if what answers at an address does not speak as a Ray Client server."""
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=WAIT)
        except grpc.FutureTimeoutError:
            raise ConfigError(
                f"{wanted}: something answers there, but not as a Ray Client server within "
                f"{WAIT:.0f} s"
            ) from None


def check_nodes(ray: Any, address: str, option: str) -> None:
    """Raise ConfigError unless the cluster can start an actor that has the same qmu."""
    ours = metadata.version("qmu")
    probe = ray.remote(num_cpus=0)(Probe).remote()
    try:
        theirs = ray.get(probe.version.remote(), timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError:
        raise ConfigError(
            f"{option} {address}: the cluster starts nothing within {PATIENCE:.0f} s"
        ) from None
    except ray.exceptions.RayError as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{option} {address}: the cluster answers, but can start nothing for this machine "
            f"({first}). qmu has to be installed on its nodes, and all sides need the same "
            "RAY_AUTH_MODE and token (docs/howto/use-a-cluster.md)"
        ) from None
    if theirs != ours:
        raise ConfigError(
            f"{option} {address}: the cluster has qmu {theirs}, this machine {ours}: install the "
            "same version on both"
        )


class Probe:
    """An actor that says which qmu is installed where it runs."""

    def version(self) -> str:
        """Return the version."""
        return metadata.version("qmu")


def signal_handlers() -> dict[int, Any]:
    """Return what Ctrl-C and SIGTERM do now."""
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def put_back(handlers: dict[int, Any]) -> None:
    """Let Ctrl-C and SIGTERM do what they did before Ray has put its own handlers there."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)
