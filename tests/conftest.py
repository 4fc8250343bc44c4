"""Settings of the whole test suite."""

from __future__ import annotations

import torch

# Tiny tensors gain nothing from threads, and lose much of them on a busy machine.
torch.set_num_threads(1)
