"""The pages: their figures, links, paths, commands and code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastdl
from benchmarks.peers import report
from fastdl import nn
from tests.process import ROOT

READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_figures_are_those_of_the_page_of_performance(readme: Path):
    text, page = readme.read_text(), (ROOT / "docs" / "performance.md").read_text()
    assert text == report.with_figures(text, page)
    assert text != report.with_figures(text, re.sub(r"(\| char GRU 256 \|) ", r"\1 1", page))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = re.findall(r"\b(?:examples|csrc|fastdl|tests|docs|benchmarks)/[\w./-]+\.(?:pyx|pxd|py|md|c|h|def)\b", text)
    assert [path for path in paths if not (ROOT / path).exists() and not (page.parent / path).exists()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    commands = re.findall(r"(?:`|^ +)make ([\w-]+)", text, re.M)
    assert set(commands) <= set(targets)


@pytest.mark.parametrize("page", [*READMES, ROOT / "docs" / "autograd.md"], ids=lambda p: p.name)
def test_the_code_runs(page: Path, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    assert blocks
    fastdl.manual_seed(0)
    names = {"fastdl": fastdl, "net": nn.Linear(3, 2), "criterion": nn.CrossEntropyLoss(), "x": fastdl.randn(4, 3),
             "y": fastdl.tensor([0, 1, 1, 0])}  # what a page takes for granted
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    if page in READMES:
        loss, accuracy = map(float, capsys.readouterr().out.split())
        assert loss < 0.1 and accuracy > 0.95
