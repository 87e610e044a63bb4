"""Small tensors on their way from the processor to a device."""

import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a `tensor` of the processor on `device`, without a wait for what that is doing."""
    if device.type == "cuda":  # from other memory than pinned, CUDA may finish its queue first
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
