"""Clusters of three nodes, and the processes of Ray on this machine."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import psutil


class ThreeNodes:
    """A cluster in a process of its own; `address` is that of its Ray Client server."""

    def __init__(self):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self.address = f"ray://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("three_nodes.py")), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def kill_a_node(self):
        """End one of the nodes that train."""
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


@contextlib.contextmanager
def three_nodes():
    """Yield a cluster of three nodes, which asks this process for no token."""
    with mock.patch.dict(os.environ, RAY_AUTH_MODE="disabled"):
        made = ThreeNodes()
        try:
            yield made
        finally:
            made.process.communicate(timeout=60)
            # The next test would take what is left for its own.
            psutil.wait_procs(processes("ray::"), timeout=60)


def processes(name):
    """Return the processes of Ray whose name begins like this."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.name().startswith(name):
                found.append(one)
    return found


def wait_for(name, count, process):
    """Wait until there are so many processes of Ray; return them."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if len(found := processes(name)) >= count:
            return found
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate())
