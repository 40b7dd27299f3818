"""PyTorch's DataLoader over shmqueue: batches of images, as tensors or as numpy arrays."""

import argparse
import sys

from both_ways import compare

try:
    import numpy
    import torch
    from torch.utils.data import DataLoader, Dataset
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install torch==2.13.0 numpy   (tried on Python 3.11)")


class Images(Dataset):
    """A data set of 3x224x224 images that all lie in memory."""

    def __init__(self, count, as_numpy):
        self.count = count
        images = numpy.random.default_rng(0).random((64, 3, 224, 224), dtype=numpy.float32)
        self.images = images if as_numpy else torch.from_numpy(images)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.images[index % len(self.images)]


def main():
    """Load batches with worker processes, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numpy", action="store_true", help="numpy batches instead of tensors")
    options = parser.parse_args()
    images = Images(options.batches * options.batch_size, options.numpy)

    def work(context):
        loader = DataLoader(
            images,
            batch_size=options.batch_size,
            num_workers=options.workers,
            collate_fn=numpy.stack if options.numpy else None,
            multiprocessing_context=context,
        )
        seen = 0
        for batch in loader:
            seen += len(batch)
            del batch  # lets go of its memory before the next one is asked for
        assert seen == len(images)

    compare(work, options.rounds, "batches", options.batches)


if __name__ == "__main__":
    main()
