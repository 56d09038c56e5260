"""Tests that run the same script on fastdl and, where it is installed, on PyTorch."""

from __future__ import annotations

import importlib

import pytest

import fastdl


def on_both(test):
    """Calls test(T) with T = fastdl, and with T = torch, or skips that."""

    @pytest.mark.parametrize("library", ["fastdl", "torch"])
    def run(library):
        test(fastdl if library == "fastdl" else pytest.importorskip(library))

    run.__doc__ = test.__doc__
    return run


def part(T, name: str):
    """A submodule: part(T, "autograd.function")."""
    return importlib.import_module(f"{T.__name__}.{name}")
