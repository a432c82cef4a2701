"""A policy in one line of words, whatever computes it."""

from typing import Any

# What `info` says of where a policy comes from, beside its environment.
ORIGIN = ("arm", "seed", "step")


def told(policy: Any) -> str:
    """Return a policy's class and world, its shapes, and where it comes from, in one line."""
    info = policy.info
    world = f" for {info['environment']}" if info.get("environment") else ""
    shapes = f"observation {policy.obs_shape} -> action {policy.action_shape}"
    origin = [f"{name} {info[name]}" for name in ORIGIN if info.get(name) is not None]
    line = f"<{type(policy).__name__}{world}: {', '.join([shapes, *origin])}>"
    return " ".join(line.split())
