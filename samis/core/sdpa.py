"""Which kernels ``scaled_dot_product_attention`` may use; every package that builds a network with it calls this first.

On Hopper GPUs torch prefers cuDNN in half precision. Its backward pass gave NaN for SAM's attention with folded
positions at a finite loss, where the flash, efficient and math kernels give the same finite gradient (H200, torch 2.11).
The kernel is chosen in the forward pass, for the backward pass too, and under ``torch.compile`` while it traces. So the
switch is torch's own for the process, and not a context manager around each call, which some versions cannot trace.
"""

from __future__ import annotations

import torch


def exclude_cudnn() -> None:
    """Never let this process's attention use cuDNN; flash, efficient and math stay as they are."""
    torch.backends.cuda.enable_cudnn_sdp(False)
