"""DLPack: memory shared with other libraries."""

from .._interchange import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
