"""Helpers for training: `fastdl.utils.data`."""

from . import data

__all__ = ["data"]
