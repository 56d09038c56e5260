"""Memory of tensors: how much is in use, and giving back what is kept for reuse."""

from __future__ import annotations

from fastdl import _kernels

__all__ = ["empty_cache", "reset_peak", "stats"]


def stats() -> dict[str, int]:
    """What the allocator has handed out and keeps.

    Returns:
        A dict with

        - live_bytes: in use now, to the byte as asked for; peak_bytes: their largest number since `reset_peak`;
        - cached_bytes: free, kept for reuse (whole blocks, so more than was asked for);
        - live_blocks: in use now; total_blocks: handed out since the start;
        - system_blocks: of these, those that needed new memory from the system.

    Memory that a tensor shares with a NumPy array is NumPy's and does not count.

    Example:
        >>> before = stats()["live_bytes"]
        >>> x = fastdl.zeros(1000)
        >>> stats()["live_bytes"] - before
        4000
    """
    return _kernels.memory_stats()


def reset_peak() -> None:
    """Lets `peak_bytes` begin anew from what is in use now."""
    _kernels.reset_peak()


def empty_cache() -> int:
    """Gives everything that is kept for reuse back to the system; returns the number of bytes."""
    return _kernels.empty_cache()
