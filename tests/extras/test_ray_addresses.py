"""What is said of clusters that are not there, or too small; nothing is left on disk."""

import importlib.util
import socket
import subprocess
import sys
import time
from concurrent import futures

import pytest

# Not imported here: a cluster of this machine alone is prepared for before Ray is imported.
NO_RAY = importlib.util.find_spec("ray") is None
pytestmark = [pytest.mark.extra, pytest.mark.skipif(NO_RAY, reason="Ray is not installed")]


@pytest.fixture
def silent():
    """Return a port where somebody listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def foreign():
    """Return the port of a gRPC server that is not Ray's."""
    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def refused(folder, *words):
    """Return the one sentence by which the command refuses words; the folder stays empty."""
    command = [sys.executable, "-m", "qmu", *words, "--dir", "away"]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert told.returncode == 2
    assert not list(folder.iterdir())
    (line,) = told.stderr.splitlines()
    return line


def test_an_address_where_nobody_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
    said = refused(tmp_path, "study", "noise", "--on", address)
    assert f"--on {address}: nobody answers there (Connection refused)" in said


@pytest.mark.parametrize("server", ["silent", "foreign"])
def test_an_address_where_somebody_else_listens(server, tmp_path, request):
    address = f"ray://127.0.0.1:{request.getfixturevalue(server)}"
    begun = time.monotonic()
    said = refused(tmp_path, "study", "noise", "--on", address)
    assert "something answers there, but not as a Ray Client server within 10 s" in said
    # Ten seconds, and those of the imports.
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("what", [["--cpus", "1000"], ["--gpus", "0.5"]])
@pytest.mark.parametrize("words", [["study", "noise"], ["tune", "Pendulum-v1"]])
def test_more_than_a_node_of_the_cluster_has(words, what, tmp_path):
    said = refused(tmp_path, *words, "--on", "ray", *what)
    assert f"{' '.join(what)} " in said
    assert "are asked for each program, and no node has that" in said
