"""Ray: a cluster that is there, or one of this machine alone.

Addresses are `ray` (a cluster of its own is started here and ends with its last user),
`ray://HOST:PORT` (a Ray Client server, usually on port 10001), and `ray://auto` (the cluster that
this machine is a part of).
"""

import atexit
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from importlib import metadata
from typing import Any, NamedTuple

from qmu.collecting.head import Head
from qmu.config.workers import HERE
from qmu.errors import ConfigError, lacking

AUTO, SCHEME = "ray://auto", "ray://"
# Seconds in which an address has to answer.
WAIT = 10.0
# Seconds in which a cluster starts a process.
PATIENCE = 60.0
# Ray's client server forks a process for each connection while its own threads are at work, and
# every tenth or so dies at once (Ray's issue 63202): so often a connection is asked for.
ATTEMPTS = 3
# A cluster of this machine alone listens to this machine only (Ray's name of the variable is from
# where it was first needed), and tells nobody that it is used. Who connects to it has to know the
# token that Ray keeps in ~/.ray.
OF_ITS_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
BY_DEFAULT = {"RAY_AUTH_MODE": "token"}


class Cluster(NamedTuple):
    """What a cluster has for programs, and whether it was started here for them."""

    cpus: int
    gpus: int
    own: bool


class Connection:
    """The one connection to a cluster that a process can have, which its users share."""

    def __init__(self) -> None:
        """Begin without one."""
        self.address: str | None = None
        self.head: Head | None = None
        self.users = 0

    def open(self, address: str, option: str, processors: int) -> Cluster:
        """Connect to a cluster, or start one on this machine with so many processors.

        One that this program has connected to in its own way is used as it is, and stays.

        Raises:
            ConfigError: Ray is not installed, nobody answers at the address, what answers cannot
                train (another version of Python, Ray or qmu, other tokens), or this process is
                connected to another cluster.
        """
        if address == HERE:
            prepare_own(option)
        ray = imported(option)
        if self.address is not None and self.address != address:
            raise ConfigError(
                f"{option}: this process uses the cluster {self.address}, and cannot use {address} "
                "beside it: close what does, or give the same address"
            )
        try:
            if not ray.is_initialized():
                self.make(ray, address, option, processors)
            if self.head is None:
                check_nodes(ray, address, option)
        except BaseException:
            if not self.users:
                self.break_off(ray)
            raise
        self.users += 1
        there = ray.cluster_resources()
        cpus, gpus = (int(there.get(kind, 0)) for kind in ("CPU", "GPU"))
        return Cluster(cpus, gpus, own=self.head is not None)

    def make(self, ray: Any, address: str, option: str, processors: int) -> None:
        """Connect, for as long as there are users."""
        self.address = address
        # Ray's own end would come too late: it ends a process with code 1 whose cluster is gone.
        atexit.register(self.break_off, ray)
        before = signal_handlers()
        try:
            if address != HERE:
                join(ray, address, option)
            else:
                self.head = Head(processors)
                ray.init(self.head.address(), log_to_driver=False, logging_level=logging.ERROR)
        finally:
            put_back(before)

    def close(self) -> None:
        """Need the cluster no longer; the last user breaks the connection off."""
        self.users -= 1
        if not self.users:
            self.break_off(importlib.import_module("ray"))

    def break_off(self, ray: Any) -> None:
        """Break off a connection that was made here; a cluster that was started for it ends."""
        atexit.unregister(self.break_off)
        if self.address is not None:
            ray.shutdown()
        if self.head is not None:
            self.head.close()
        self.address = self.head = None


CONNECTION = Connection()


def prepare_own(option: str) -> None:
    """Prepare this process for a cluster of its own, before it imports Ray.

    Raises:
        ConfigError: it has imported Ray, and is not connected to a cluster.
    """
    needed = BY_DEFAULT | os.environ | OF_ITS_OWN
    if needed == os.environ:
        return
    ray = sys.modules.get("ray")
    if ray is None:
        os.environ |= needed
    elif not ray.is_initialized():
        raise ConfigError(
            f"{option}: this program has imported Ray, and it is too late for a cluster that "
            "only this machine can reach: call ray.init() before, whose cluster is then used"
        )


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
    connect(ray, address, option)


def connect(ray: Any, address: str, option: str) -> None:
    """Connect to a cluster that answers. Raises ConfigError if it cannot be talked to."""
    for _ in range(ATTEMPTS):
        failure = attempt(ray, address)
        if not isinstance(failure, ConnectionAbortedError):
            break
    if isinstance(failure, ConnectionError) and address == AUTO:
        raise ConfigError(
            f"{option} {address}: this machine is a part of no cluster: start one (`ray start "
            "--head`), or give `ray` (this machine alone) or ray://HOST:PORT"
        )
    if failure is not None:
        first, *more = str(failure).strip().splitlines() or [type(failure).__name__]
        raise ConfigError(" ".join([f"{option} {address}: {first}", *more[-1:]])) from None


def attempt(ray: Any, address: str) -> Exception | None:
    """Connect to a cluster; return why that has failed, None if it has not."""
    found: list[Exception | None] = []

    def begin() -> None:
        try:
            ray.init(
                "auto" if address == AUTO else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            found.append(None)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found[0] if found else TimeoutError(f"the cluster starts no driver in {PATIENCE:.0f} s")


def check_speaks(host: str, port: str, wanted: str) -> None:
    """Raise ConfigError if what answers is no Ray Client server, or one for others' tokens."""
    grpc = importlib.import_module("grpc")
    channels = importlib.import_module("ray._private.grpc_utils")
    words = importlib.import_module("ray.core.generated.ray_client_pb2")
    services = importlib.import_module("ray.core.generated.ray_client_pb2_grpc")
    question = words.ClusterInfoRequest(type=words.ClusterInfoType.PING)
    # A proxy opens a channel to nobody, and answers by itself.
    foreign = (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
    )
    # As Ray's own client opens it: with TLS and a token, if the environment says so.
    with channels.init_grpc_channel(f"{host}:{port}") as channel:
        ask = services.RayletDriverStub(channel).ClusterInfo
        try:
            ask(question, timeout=WAIT, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise ConfigError(
                    f"{wanted}: the cluster asks for the token of its head: copy ~/.ray/auth_token "
                    "from there to this machine, and export RAY_AUTH_MODE=token"
                ) from None
            if error.code() in foreign:
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
