"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Tests that look at memory collect garbage: they need not look through thousands of collected tests each time."""
    gc.collect()
    gc.freeze()
