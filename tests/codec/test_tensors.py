"""Tensors of torch: by value under cloudpickle, as torch itself does it under multiprocessing."""

import copyreg
import multiprocessing.reduction
import multiprocessing.resource_sharer

import pytest

from shmqueue._codec import dumps, loads
from tests.codec.test_arrays import address_of, aligned

torch = pytest.importorskip("torch")

PICKLE, PARTS = 6, 8


def both(item):
    kind, data = dumps(item)
    memory = aligned(data)
    return kind, (loads(kind, data), loads(kind, memory, in_place=True)), memory


def assert_same(back, tensor):
    assert type(back) is torch.Tensor
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert back.requires_grad == tensor.requires_grad
    assert back.is_leaf
    assert torch.equal(back, tensor)


@pytest.fixture
def shared():
    """End the thread by which torch hands its shared memory on."""
    yield
    multiprocessing.resource_sharer.stop()


def ones_of_each_kind():
    whole = torch.arange(60_000)
    return [
        *(whole.to(getattr(torch, name)) for name in ("float32", "float64", "uint8", "complex64")),
        *(whole.to(getattr(torch, name)) for name in ("bfloat16", "float16", "bool", "int16")),
        whole.reshape(200, 300)[::2, 1:],
        whole.reshape(200, 300).t(),
        whole[:48_000].reshape(4, 3, 50, 80).to(memory_format=torch.channels_last),
        whole[:5].expand(5000, 5),
        whole.float().requires_grad_(),
    ]


@pytest.mark.parametrize("number", range(13))
def test_a_large_tensor_stays_where_it_arrives(number):
    tensor = ones_of_each_kind()[number]
    for wrap in (lambda tensor: tensor, lambda tensor: {"k": [tensor, 1]}):
        kind, items, memory = both(wrap(tensor))
        assert kind == PARTS
        for item in items:
            back = item if isinstance(item, torch.Tensor) else item["k"][0]
            assert_same(back, tensor)
            assert back.data_ptr() % 64 == 0
        start = address_of(memory)
        assert start <= back.data_ptr() < start + len(memory)
        with torch.no_grad():
            back.zero_()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.arange(10),
        torch.zeros(0, 3),
        torch.zeros(3, 0, dtype=torch.bfloat16),
        torch.rand(4, 5).t(),
        torch.rand(3, requires_grad=True),
    ],
    ids=str,
)
def test_a_small_tensor_comes_back(tensor):
    kind, items, _ = both(tensor)
    assert kind == PICKLE
    for back in items:
        assert_same(back, tensor)
        with torch.no_grad():
            back += 1


def test_a_dense_tensor_keeps_its_strides():
    tensor = torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last)
    assert loads(*dumps(tensor)).stride() == tensor.stride()


def test_what_is_sent_does_not_change_with_the_tensor_afterwards():
    tensor = torch.zeros(10_000)
    kind, data = dumps(tensor)
    tensor += 1
    assert not loads(kind, data).any()


def test_what_a_tensor_only_looks_like_is_sent_as_it_looks():
    tensor = torch.rand(5000, dtype=torch.complex64)
    for view in (tensor.conj(), tensor.conj().imag):
        assert view.is_conj() or view.is_neg()
        assert_same(loads(*dumps(view)), view)


def test_what_is_more_than_its_bytes_is_left_to_torch(shared):
    tensor = torch.nn.Parameter(torch.rand(10_000))
    kind, data = dumps(tensor)
    assert len(data) < 2000
    back = loads(kind, data)
    assert type(back) is torch.nn.Parameter
    assert torch.equal(back, tensor)


def test_a_registered_reducer_of_tensors_counts():
    copyreg.dispatch_table[torch.Tensor] = lambda tensor: (str, (f"tensor of {len(tensor)}",))
    registered = multiprocessing.reduction.ForkingPickler._extra_reducers
    theirs = registered.pop(torch.Tensor)
    try:
        assert loads(*dumps([torch.zeros(10)])) == ["tensor of 10"]
    finally:
        del copyreg.dispatch_table[torch.Tensor]
        registered[torch.Tensor] = theirs


def test_a_tensor_within_a_graph_is_refused_as_torch_does():
    with pytest.raises(RuntimeError, match="non-leaf"):
        dumps(torch.rand(3, requires_grad=True) * 2)


def test_a_tensor_is_shared_under_multiprocessing(shared):
    tensor = torch.zeros(10_000)
    kind, data = dumps(tensor, "multiprocessing")
    assert kind == PICKLE
    assert len(data) < 2000
    back = loads(kind, data)
    tensor += 1
    assert back.all()
