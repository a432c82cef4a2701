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


@pytest.fixture
def guarded():
    """Return the port of a Ray Client server that answers to those with a token only."""
    import grpc

    def told(request, context):
        if ("authorization", "Bearer secret") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "enough")

    # Ray's own service is not imported here: a cluster of this machine alone comes before that.
    methods = {"ClusterInfo": grpc.unary_unary_rpc_method_handler(told)}
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("ray.rpc.RayletDriver", methods)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_a_cluster_that_asks_for_a_token(guarded, tmp_path, monkeypatch):
    words = ["study", "noise", "--on", f"ray://127.0.0.1:{guarded}"]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    said = refused(tmp_path, *words)
    assert "the cluster asks for the token of its head: copy ~/.ray/auth_token" in said
    assert "export RAY_AUTH_MODE=token" in said
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert "the cluster asks for the token of its head" in refused(tmp_path, *words)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert "not as a Ray Client server" in refused(tmp_path, *words)


def test_a_machine_that_is_no_part_of_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path.parent))
    said = refused(tmp_path, "study", "noise", "--on", "ray://auto")
    assert "this machine is a part of no cluster: start one (`ray start --head`)" in said


def test_a_storage_that_cannot_be_written(tmp_path):
    said = refused(tmp_path, "tune", "Pendulum-v1", "--storage", "/proc/nowhere")
    assert "--storage /proc/nowhere: the cluster cannot write there (" in said


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
    assert "are asked for each training, and no node has that: ask for less" in said
