#!/usr/bin/env bash
# flax 0.12.8 and onnxruntime 1.32.0: two layer normalizations that are one only near 0.
#
# Expected: a layer that is trained in flax and exported as ONNX's LayerNormalization gives the same numbers.
# Seen: of rows with mean 1,000 and spread 1 flax's normalized numbers are wrong by more than 0.1, onnxruntime's by
# less than 0.001. flax (and jax.nn.standardize) takes the variance as the mean of squares less the square
# of the mean, in float32. `use_fast_variance=False` cures it.
#
# It matters for raw sensors and for what a deep trunk gives: the exported policy is not the trained one.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import flax
import flax.linen as nn
import jax
import numpy as np
import onnx
import onnxruntime

ROWS, UNITS, EPSILON = 256, 64, 1e-6
rows = (1000 + np.random.default_rng(0).normal(size=(ROWS, UNITS))).astype(np.float32)
exact = rows.astype(np.float64)
exact -= exact.mean(axis=-1, keepdims=True)
exact /= np.sqrt(exact.var(axis=-1, keepdims=True) + EPSILON)


def flax_norm(fast):
    layer = nn.LayerNorm(epsilon=EPSILON, use_fast_variance=fast)
    return np.asarray(layer.apply(layer.init(jax.random.key(0), rows), rows))


def onnx_norm():
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], epsilon=EPSILON)
    sides = [[helper.make_tensor_value_info(name, number, [ROWS, UNITS])] for name in "xy"]
    held = [
        helper.make_tensor("scale", number, [UNITS], np.ones(UNITS)),
        helper.make_tensor("bias", number, [UNITS], np.zeros(UNITS)),
    ]
    graph = helper.make_graph([node], "norm", *sides, held)
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    return session.run(None, {"x": rows})[0]


def told(name, normalized):
    error = float(np.max(np.abs(normalized - exact)))
    word = "below 0.001" if error < 1e-3 else "above 0.1" if error > 0.1 else "in between"
    print(f"seen, largest error of {name}: {word}")


print("flax", flax.__version__, "and onnxruntime", onnxruntime.__version__)
print("expected: errors below 0.001")
told("flax", flax_norm(True))
told("flax, use_fast_variance=False", flax_norm(False))
told("onnxruntime", onnx_norm())
END
cat seen
diff seen - <<'END'
flax 0.12.8 and onnxruntime 1.32.0
expected: errors below 0.001
seen, largest error of flax: above 0.1
seen, largest error of flax, use_fast_variance=False: below 0.001
seen, largest error of onnxruntime: below 0.001
END
