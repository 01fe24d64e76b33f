"""From the embedded data set to a network whose latency on two devices is known."""

import json

import sdedge

cell = sdedge.search(preset="demo")  # on `shapes`, which is drawn on the spot
network = sdedge.train(cell, preset="demo")
files = sdedge.export(network, int8=True)
speed = sdedge.bench(files)
reports = sdedge.predict_latency(files, target=("pi4", "stm32f746"))
summary = {
    "accuracy": network.test_accuracy,
    "measured_ms": speed.measurement.latency_p50_ms,
    "predicted_ms": {f"{r.target.name} {r.precision}": r.prediction.latency_ms for r in reports},
}
(network.run / "summary.json").write_text(json.dumps(summary, indent=2))
