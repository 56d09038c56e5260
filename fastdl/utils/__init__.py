"""Helpers for training: `fastdl.utils.data`."""

from . import data, dlpack

__all__ = ["data", "dlpack"]
