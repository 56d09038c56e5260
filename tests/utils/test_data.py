"""utils.data: which samples come in which order and in which form."""

import itertools
from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest

import fastdl
from fastdl.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)
from fastdl.utils.data import sampler as sampler_module


class Squares(Dataset):
    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return fastdl.tensor([float(i)]), i * i


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def pairs(n=10, columns=3):
    x = fastdl.arange(n * columns, dtype=fastdl.float32).reshape(n, columns)
    return TensorDataset(x, fastdl.arange(n))


# Data sets --------------------------------------------------------------------------------------------------------


def test_tensor_dataset_gives_rows():
    data = pairs()
    x, y = data[4]
    assert len(data) == 10 and x.tolist() == [12, 13, 14] and y.item() == 4
    x, y = data[2:4]
    assert x.shape == (2, 3) and y.tolist() == [2, 3]


@pytest.mark.parametrize("shapes", [[(3, 2), (4,)], [(3,), ()]])
def test_tensor_dataset_of_different_lengths_is_an_error(shapes):
    with pytest.raises((AssertionError, IndexError), match=r"\[TensorDataset\]"):
        TensorDataset(*[fastdl.zeros(shape) for shape in shapes])


def test_concatenation_and_subset():
    both = Squares(3) + Squares(4)
    assert isinstance(both, ConcatDataset) and len(both) == 7
    assert [both[i][1] for i in range(7)] == [0, 1, 4, 0, 1, 4, 9]
    assert both[-1][1] == 9 and both[-7][1] == 0
    for i in (7, -8):
        with pytest.raises(IndexError, match=f"index {i} is out of range for 7"):
            both[i]
    with pytest.raises(AssertionError, match="empty"):
        ConcatDataset([])
    with pytest.raises(TypeError, match="random access"):
        ConcatDataset([Stream(1)])
    part = Subset(Squares(), [5, 2])
    assert len(part) == 2 and [part[i][1] for i in range(2)] == [25, 4]
    assert list(Stream(2) + Stream(3)) == [0, 1, 0, 1, 2]
    assert isinstance(Stream(1) + Stream(1), ChainDataset)


def test_stacked_data_sets():
    stacked = StackDataset(Squares(3), [7, 8, 9])
    assert len(stacked) == 3 and stacked[1][1] == 8
    named = StackDataset(a=[1, 2], b=[3, 4])
    assert named[1] == {"a": 2, "b": 4}
    with pytest.raises(ValueError, match=r"one length, got \[1, 2\]"):
        StackDataset([1], [1, 2])


def test_random_split():
    data = list(range(10))
    fastdl.manual_seed(3)
    a, b = random_split(data, [7, 3])
    assert len(a) == 7 and sorted([*a, *b]) == data
    fastdl.manual_seed(3)
    assert list(random_split(data, [7, 3])[0]) == list(a)
    generator = fastdl.Generator().manual_seed(5)
    first = [list(part) for part in random_split(data, [0.5, 0.25, 0.25], generator=generator)]
    assert [len(part) for part in first] == [6, 2, 2]  # the one left over goes to the first
    assert first == [list(p) for p in random_split(data, [0.5, 0.25, 0.25], fastdl.Generator().manual_seed(5))]
    with pytest.raises(ValueError, match=r"numbers that sum to 10, got \[7, 4\]"):
        random_split(data, [7, 4])
    with pytest.raises(ValueError, match="shares"):
        random_split(data, [1.5, -0.5])


# Samplers ---------------------------------------------------------------------------------------------------------


def test_random_sampler_is_a_permutation_that_the_seed_decides():
    sampler = RandomSampler(range(100))
    fastdl.manual_seed(1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == list(range(100)) and first != second and first != sorted(first)
    fastdl.manual_seed(1)
    assert list(sampler) == first
    generator = fastdl.Generator().manual_seed(1)
    own = RandomSampler(range(100), generator=generator)
    fastdl.manual_seed(2)
    once = list(own)
    fastdl.manual_seed(3)
    assert once == list(RandomSampler(range(100), generator=fastdl.Generator().manual_seed(1)))


def test_a_pass_may_be_longer_than_memory_can_hold():
    data = TensorDataset(fastdl.arange(7))
    loader = DataLoader(data, batch_size=3, sampler=RandomSampler(data, replacement=True, num_samples=10**10))
    assert len(loader) == -(-(10**10) // 3)
    drawn = [batch[0].tolist() for batch, _ in zip(loader, range(40))]
    assert {len(batch) for batch in drawn} == {3} and {i for batch in drawn for i in batch} == set(range(7))
    once = itertools.islice(RandomSampler(range(5), num_samples=10**10), 10)
    assert sorted(once) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("replacement", [False, True])
def test_batches_run_on_where_numbers_are_drawn_anew(replacement, drop_last, monkeypatch):
    monkeypatch.setattr(sampler_module, "_BLOCK", 8)
    data = TensorDataset(fastdl.arange(8))
    fastdl.manual_seed(3)
    numbers = list(RandomSampler(data, replacement, num_samples=29))
    fastdl.manual_seed(3)
    loader = DataLoader(data, 5, sampler=RandomSampler(data, replacement, num_samples=29), drop_last=drop_last)
    found = [batch[0].tolist() for batch in loader]
    assert found == [numbers[i : i + 5] for i in range(0, 25 if drop_last else 29, 5)]


def test_random_sampler_with_a_number_of_samples():
    assert len(RandomSampler(range(10), num_samples=4)) == len(list(RandomSampler(range(10), num_samples=4))) == 4
    more = list(RandomSampler(range(10), num_samples=25))
    assert len(more) == 25 and sorted(more[:10]) == sorted(more[10:20]) == list(range(10))
    drawn = list(RandomSampler(range(10), replacement=True, num_samples=50))
    assert len(drawn) == 50 and set(drawn) <= set(range(10))
    assert list(RandomSampler([])) == []
    with pytest.raises(ValueError, match="num_samples"):
        RandomSampler(range(3), num_samples=-1)
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler(range(3), replacement=1)


def test_subset_and_sequential_samplers():
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]


def test_weighted_sampler_follows_the_weights():
    fastdl.manual_seed(0)
    counts = Counter(WeightedRandomSampler([1, 0, 3, 0], 4000))
    assert set(counts) == {0, 2} and 2.6 < counts[2] / counts[0] < 3.4  # ±5 standard deviations of a share of 3/4
    drawn = list(WeightedRandomSampler([1, 0, 3, 2], 3, replacement=False))
    assert sorted(drawn) == [0, 2, 3]
    with pytest.raises(ValueError, match="3 weights are positive, too few for 4"):
        WeightedRandomSampler([1, 0, 3, 2], 4, replacement=False)
    for weights in ([-1.0, 2], [float("nan")], [], [0, 0]):
        with pytest.raises(ValueError, match="WeightedRandomSampler"):
            WeightedRandomSampler(weights, 1)


def test_batch_sampler():
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(range(5), 2, False)) == 3 and len(BatchSampler(range(5), 2, True)) == 2
    for size in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="batch_size"):
            BatchSampler(range(5), size, False)


# Collating --------------------------------------------------------------------------------------------------------


def test_collate_of_each_kind():
    assert default_collate([1, 2]).dtype == fastdl.int64
    assert default_collate([1.5, 2.0]).dtype == fastdl.float64
    assert default_collate([True, False]).dtype == fastdl.bool
    assert default_collate(["a", "b"]) == ["a", "b"]
    assert default_collate([fastdl.zeros(2), fastdl.ones(2)]).tolist() == [[0, 0], [1, 1]]
    arrays = default_collate([np.zeros(2, np.float32), np.ones(2, np.float32)])
    assert arrays.dtype == fastdl.float32 and arrays.tolist() == [[0, 0], [1, 1]]
    assert default_collate([np.float64(1), np.float64(2)]).dtype == fastdl.float64
    x, (y, z) = default_collate([(1, ("a", 2.0)), (3, ("b", 4.0))])
    assert x.tolist() == [1, 3] and y == ("a", "b") and z.tolist() == [2, 4]
    assert default_collate([{"a": 1}, {"a": 2}])["a"].tolist() == [1, 2]
    point = namedtuple("Point", "x y")
    out = default_collate([point(1, 2), point(3, 4)])
    assert isinstance(out, point) and out.y.tolist() == [2, 4]


def test_collate_errors():
    with pytest.raises(RuntimeError, match=r"same number of parts, got \[1, 2\]"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="got object; pass collate_fn"):
        default_collate([object()])
    with pytest.raises(TypeError, match="the type <U1"):
        default_collate([np.array(["a"])])


def test_convert_leaves_structure():
    out = default_convert([1, np.ones(2), {"a": (np.float32(2), "s")}])
    assert out[0] == 1 and isinstance(out[1], fastdl.Tensor) and out[2]["a"][1] == "s"


# DataLoader -------------------------------------------------------------------------------------------------------


def test_batches_in_order_and_drop_last():
    loader = DataLoader(pairs(), 4)
    batches = list(loader)
    assert len(loader) == 3 and [len(x) for x, _ in batches] == [4, 4, 2]
    assert isinstance(batches[0], list) and batches[1][1].tolist() == [4, 5, 6, 7]
    assert batches[0][0].dtype == fastdl.float32 and batches[0][0].shape == (4, 3)
    loader = DataLoader(pairs(), 4, drop_last=True)
    assert len(loader) == 2 and [len(x) for x, _ in loader] == [4, 4]
    assert len(list(DataLoader(pairs(8), 4, drop_last=True))) == 2
    assert list(DataLoader(pairs(0), 4)) == [] and len(DataLoader(pairs(0), 4)) == 0


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 16])
def test_gathered_batches_equal_collated_samples(n, drop_last):
    class Slow(Dataset):  # the same samples, one by one
        def __init__(self, data):
            self.data = data

        def __len__(self):
            return len(self.data)

        def __getitem__(self, i):
            return self.data[i]

    data = pairs(n)
    subset = Subset(Subset(data, list(range(n))[::-1]), list(range(n))[::2])
    generators = [fastdl.Generator().manual_seed(n) for _ in range(2)]
    for dataset in (data, subset):
        for options in (
            {"shuffle": True},
            {"sampler": range(len(dataset))},
            {"sampler": SubsetRandomSampler(range(len(dataset)))},
            {},
        ):
            fastdl.manual_seed(n)
            fast = list(DataLoader(dataset, 4, drop_last=drop_last, **options))
            fastdl.manual_seed(n)
            slow = list(DataLoader(Slow(dataset), 4, drop_last=drop_last, **options))
            assert len(fast) == len(slow)
            for a, b in zip(fast, slow):
                assert isinstance(a, list) and [t.tolist() for t in a] == [t.tolist() for t in b]
                assert [t.dtype for t in a] == [t.dtype for t in b] and [t.shape for t in a] == [t.shape for t in b]
    a = [y.tolist() for _, y in DataLoader(data, 4, shuffle=True, generator=generators[0])]
    b = [y.tolist() for _, y in DataLoader(Slow(data), 4, shuffle=True, generator=generators[1])]
    assert a == b


def test_shuffle_is_a_new_permutation_each_pass_and_the_seed_decides():
    loader = DataLoader(pairs(100), 7, shuffle=True)
    fastdl.manual_seed(0)
    first = [i for _, y in loader for i in y.tolist()]
    second = [i for _, y in loader for i in y.tolist()]
    fastdl.manual_seed(0)
    assert sorted(first) == sorted(second) == list(range(100)) and first != second
    assert [i for _, y in loader for i in y.tolist()] == first


@pytest.mark.parametrize("shuffle", [False, True])
def test_changing_a_batch_does_not_change_the_data(shuffle):
    data = pairs()
    before = data.tensors[0].tolist()
    for x, _ in DataLoader(data, 4, shuffle=shuffle):
        x.zero_()
    assert data.tensors[0].tolist() == before


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_number_of_workers_changes_nothing(workers):
    fastdl.manual_seed(4)
    loader = DataLoader(
        Squares(), batch_size=3, shuffle=True, num_workers=workers, pin_memory=True, prefetch_factor=2 if workers else None  # noqa: E501
    )
    got = [y.tolist() for _, y in loader]
    fastdl.manual_seed(4)
    assert got == [y.tolist() for _, y in DataLoader(Squares(), 3, True)]
    assert get_worker_info() is None


def test_map_style_data_of_other_kinds():
    assert [b.tolist() for b in DataLoader([1, 2, 3], 2)] == [[1, 2], [3]]
    x = fastdl.arange(6).reshape(3, 2)
    assert [b.tolist() for b in DataLoader(x, 2)] == [[[0, 1], [2, 3]], [[4, 5]]]
    ordered = DataLoader([OrderedDict(a=i) for i in range(3)], 2)
    assert [b["a"].tolist() for b in ordered] == [[0, 1], [2]]


def test_samples_fetched_together():
    class Together(Squares):
        def __getitems__(self, numbers):
            self.seen.append(numbers)
            return [i * 10 for i in numbers]

    data = Together(5)
    data.seen = []
    assert [b.tolist() for b in DataLoader(data, 2)] == [[0, 10], [20, 30], [40]]
    assert data.seen == [[0, 1], [2, 3], [4]]


def test_subclass_of_tensor_dataset_with_its_own_samples():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            return tuple(2 * t for t in super().__getitem__(i))

    ((x,),) = DataLoader(Doubled(fastdl.arange(3)), 3)
    assert x.tolist() == [0, 2, 4]


def test_collate_fn_sampler_and_batch_sampler():
    assert list(DataLoader(range(5), 2, collate_fn=tuple)) == [(0, 1), (2, 3), (4,)]
    assert [b.tolist() for b in DataLoader(range(5), 2, sampler=[4, 3, 0])] == [[4, 3], [0]]
    loader = DataLoader(pairs(), batch_sampler=[[1, 2], [5], [-1]])
    assert len(loader) == 3 and [y.tolist() for _, y in loader] == [[1, 2], [5], [9]]
    with pytest.raises(IndexError, match="10"):
        list(DataLoader(pairs(), batch_sampler=[[0, 10]]))


def test_without_batches():
    assert list(DataLoader([np.ones(1), 2], batch_size=None))[1] == 2
    assert len(DataLoader([1, 2], batch_size=None)) == 2
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]


def test_iterable_data():
    assert [b.tolist() for b in DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="own order"):
        DataLoader(Stream(5), shuffle=True)
    with pytest.raises(TypeError):
        len(DataLoader(Stream(5), 2))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size: expected an int > 0, got 0"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"shuffle": True, "sampler": [0]}, "mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "mutually exclusive"),
        ({"batch_sampler": [[0]], "shuffle": True}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "drop_last"),
    ],
)
def test_arguments_that_exclude_each_other(options, text):
    with pytest.raises(ValueError, match=text):
        DataLoader([1, 2], **options)
