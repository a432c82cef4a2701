#!/usr/bin/env bash
# dm_control 1.0.50: a program that has drawn a world, and does not close it, ends with tracebacks.
#
# Expected: what a world draws with is freed at exit without a word; the package registers that itself.
# Seen: it frees its contexts in a thread of a pool, by a function of atexit. Python ends all pools before it
# calls those, so every context that is left ends in "cannot schedule new futures after shutdown", three
# times, once through atexit and twice through __del__. The exit code stays 0.
#
# It matters where a program's errors are read: a training that went well looks as if it had failed. Closing
# every world helps, and so does doing without the pool (DISABLE_RENDER_THREAD_OFFLOADING=1).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet dm-control==1.0.50 mujoco==3.17.0 numpy==2.4.6

cat >program.py <<'END'
from dm_control import suite

world = suite.load("cartpole", "swingup", task_kwargs={"random": 0})
world.reset()
picture = world.physics.render(height=32, width=32, camera_id=0)
assert picture.std() > 0
END

export MUJOCO_GL="${MUJOCO_GL:-osmesa}"
{
    env/bin/python -c 'from importlib.metadata import version; print("dm-control", version("dm-control"))'
    for pools in yes no; do
        if [ $pools = no ]; then export DISABLE_RENDER_THREAD_OFFLOADING=1; fi
        code=0
        env/bin/python program.py 2>errors || code=$?
        echo "pools: $pools; exit code: $code; complaints expected: 0; seen: $(grep -c 'after shutdown$' errors || true)"
    done
} >seen
cat seen
diff seen - <<'END'
dm-control 1.0.50
pools: yes; exit code: 0; complaints expected: 0; seen: 3
pools: no; exit code: 0; complaints expected: 0; seen: 0
END
