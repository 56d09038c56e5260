"""fastdl: a small, fast CPU deep-learning engine with PyTorch's API."""
