"""fastdl beside PyTorch, torch.compile, JAX, ONNX Runtime and NumPy: `python -m benchmarks.peers --help`."""
