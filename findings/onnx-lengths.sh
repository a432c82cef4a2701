#!/usr/bin/env bash
# onnx 1.23.2 and onnxruntime 1.32.0: what `sequence_lens` does to the state of a recurrent layer.
#
# Expected: GRU, LSTM and RNN stop at each row's length and return the state there. A row of length 0 has
# seen nothing, so it returns the state that it was given.
# Seen: onnxruntime returns zeros for a row of length 0, which forgets the state. The reference evaluator of
# onnx reads every row to the end, whatever its length.
#
# It matters for policies with a memory that act in batches of which some worlds pause; and a test against
# the reference evaluator accepts a graph with the wrong lengths.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

env/bin/python - >seen <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

STEPS, ROWS, INPUTS, UNITS = 4, 2, 2, 3
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def layer(kind):
    """Return a model of one recurrent layer."""
    generator, width = np.random.default_rng(0), GATES[kind] * UNITS
    weights = {
        "W": generator.normal(size=(1, width, INPUTS)),
        "R": generator.normal(size=(1, width, UNITS)),
        "B": generator.normal(size=(1, 2 * width)),
    }
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "W", "R", "B", "lengths", "before"], ["", "after"],
                          hidden_size=UNITS)],
        "recurrent",
        [floats("x", STEPS, ROWS, INPUTS),
         helper.make_tensor_value_info("lengths", TensorProto.INT32, [ROWS]),
         floats("before", 1, ROWS, UNITS)],
        [floats("after", 1, ROWS, UNITS)],
        [helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.ravel())
         for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


generator = np.random.default_rng(1)
x = generator.normal(size=(STEPS, ROWS, INPUTS)).astype(np.float32)
before = generator.normal(size=(1, ROWS, UNITS)).astype(np.float32)


def second(run, length):
    """Return the second row's state at the end, when it has this length."""
    lengths = np.array([STEPS, length], np.int32)
    return run(None, {"x": x, "lengths": lengths, "before": before})[0][0, 1]


print("onnx", onnx.__version__, "and onnxruntime", onnxruntime.__version__)
print("expected of length 0: the state before; of length 2: not the state at the end")
for kind in GATES:
    model = layer(kind)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for name, run in (("onnxruntime", session.run), ("reference", ReferenceEvaluator(model).run)):
        end = second(run, STEPS)
        states = {"the state before": before[0, 1], "zeros": 0 * end, "the state at the end": end}
        words = {
            length: next((word for word, state in states.items()
                          if np.allclose(second(run, length), state)), "another state")
            for length in (0, 2)
        }
        print(f"seen, {kind}, {name}: of length 0 {words[0]}, of length 2 {words[2]}")
END
cat seen
diff seen - <<'END'
onnx 1.23.2 and onnxruntime 1.32.0
expected of length 0: the state before; of length 2: not the state at the end
seen, GRU, onnxruntime: of length 0 zeros, of length 2 another state
seen, GRU, reference: of length 0 the state at the end, of length 2 the state at the end
seen, LSTM, onnxruntime: of length 0 zeros, of length 2 another state
seen, LSTM, reference: of length 0 the state at the end, of length 2 the state at the end
seen, RNN, onnxruntime: of length 0 zeros, of length 2 another state
seen, RNN, reference: of length 0 the state at the end, of length 2 the state at the end
END
