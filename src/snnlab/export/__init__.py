"""``python -m snnlab.export``: a trained network leaves as a NIR graph, as a chip's integers, or as TorchScript."""
