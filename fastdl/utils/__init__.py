"""Helpers for training: `fastdl.utils.data`, `fastdl.utils.checkpoint`."""

from . import data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]


def __getattr__(name: str):
    if name == "checkpoint":  # seldom used: imported when asked for
        from importlib import import_module

        return import_module(".checkpoint", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
