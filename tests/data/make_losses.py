"""Stores the losses of ten training steps of each model of tests/train_runs.py, as PyTorch computes them in float64.

Run from the root of the project, with torch installed: python tests/data/make_losses.py
"""

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests import train_runs  # noqa: E402

STEPS = 10

losses = {name: train_runs.losses(torch, name, STEPS, torch.float64) for name in train_runs.RUNS}
path = ROOT / "tests" / "data" / "losses.json"
path.write_text(json.dumps({"torch": torch.__version__, "losses": losses}, indent=1) + "\n")
