"""Tensors of torch by value.

torch registers reducers that move a tensor to shared memory of its own and send its name, for
processes of one family; the readers of a named queue may be any program. So there a tensor travels
like an array: its bytes, which arrive in the memory that they came in. Only if it is nothing but
its bytes: what torch knows besides (devices, sparse layouts, quantisation, graphs of gradients) is
left to torch's own reducers.
"""

from __future__ import annotations

import sys
from pickle import PickleBuffer
from typing import Any

from shmqueue._buffers import run_at

__all__ = ["rebuild", "reduce", "reducers"]

Reducers = dict[type, Any]

_registered: Reducers = {}


def reducers(registered: Reducers) -> Reducers:
    """Return the reducer of tensors, unless torch is not there or the user has registered another.

    Parameters
    ----------
    registered : dict
        What counts otherwise.
    """
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    if kind is None:
        return {}
    theirs = registered.get(kind)
    if theirs is not None and not str(getattr(theirs, "__module__", "")).startswith("torch."):
        return {}
    _registered[kind] = theirs
    return {kind: reduce}


def reduce(tensor: Any) -> Any:
    """Reduce a tensor to its bytes if it is nothing else, or do what torch does."""
    if not _is_plain(tensor):
        theirs = _registered.get(type(tensor))
        return tensor.__reduce_ex__(5) if theirs is None else theirs(tensor)
    dense = tensor.detach().resolve_conj().resolve_neg()
    if not _is_dense(dense):
        dense = dense.contiguous()
    run = run_at(dense.data_ptr(), dense.numel() * dense.element_size(), dense)
    name = str(dense.dtype).removeprefix("torch.")
    shape, strides = tuple(dense.shape), dense.stride()
    return rebuild, (name, shape, strides, tensor.requires_grad, PickleBuffer(run))


def rebuild(dtype: str, shape: Any, strides: Any, requires_grad: bool, buffer: Any) -> Any:
    """Return a tensor in the memory of a buffer."""
    import torch

    items = torch.empty(0, dtype=getattr(torch, dtype))
    if len(buffer):
        storage = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()
        items.set_(storage, 0, shape, strides)
    else:
        items = items.reshape(shape)
    return items.requires_grad_(requires_grad)


def _is_plain(tensor: Any) -> bool:
    torch = sys.modules["torch"]
    return bool(
        type(tensor) is torch.Tensor
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.is_leaf
        and not tensor.is_quantized
        and not tensor._backward_hooks
        and not vars(tensor)
        and not tensor._is_zerotensor()
        and _has_memory(tensor)
        and hasattr(torch, str(tensor.dtype).removeprefix("torch."))
    )


def _has_memory(tensor: Any) -> bool:
    """Whether its storage holds all of its items: one that was freed has none."""
    if tensor.numel() == 0:
        return True
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    wanted: int = (tensor.storage_offset() + last + 1) * tensor.element_size()
    return bool(wanted <= tensor.untyped_storage().nbytes())


def _is_dense(tensor: Any) -> bool:
    """Whether its items are in one run of memory, in whatever order of dimensions."""
    step = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length != 1 and stride != step:
            return False
        step *= length
    return True
