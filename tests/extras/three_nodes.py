"""A Ray cluster of three nodes on this machine: a head without processors, two with one each.

python three_nodes.py PORT: says "ready"; a line "kill" ends a node, the end of the input all.
"""

import os
import sys

# Only this machine can reach it; a node that is gone is missed after a few seconds.
os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    small = {"object_store_memory": 100 * 2**20}
    server = {"ray_client_server_port": int(sys.argv[1]), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small | server | {"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()
