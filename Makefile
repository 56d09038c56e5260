# make demo | test | bench | bench-peers | docs | lint | stubs | wheel | check-deep | clean
# Needs Python >= 3.10, pip and a C compiler; everything else goes into .venv. PYTHON chooses the interpreter.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check install --quiet
# what has to be compiled again; Python files are used in place
BUILT_FROM := setup.py pyproject.toml $(wildcard csrc/*) \
              $(shell find fastdl -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' ! -name '_table.pxi')

.PHONY: demo test bench bench-peers docs lint stubs wheel check-deep clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(PY) examples/train_timemachine.py $(ARGS)

test: $(VENV)/.dev
	$(PY) -m pytest $(ARGS)

bench: $(VENV)/.dev
	mkdir -p out
	$(PY) -m pytest benchmarks --benchmark-json=out/benchmarks.json $(ARGS)

bench-peers: $(VENV)/.peers
	mkdir -p out
	$(PY) -m benchmarks.peers --json out/peers.json --plot out/peers.png $(ARGS)

docs: $(VENV)/.peers
	$(PY) docs/compatibility.py

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m codespell_lib README.md CHANGELOG.md Makefile setup.py pyproject.toml csrc docs fastdl tests benchmarks examples
	$(PY) .ci/make_stubs.py --check
	$(PY) -m mypy fastdl examples

# the type hints of the compiled modules
stubs: $(VENV)/.dev
	$(PY) .ci/make_stubs.py

wheel: $(VENV)/.dev
	rm -rf dist
	$(PY) -m build --outdir dist .

# 20 minutes of two processors: kernels and binding under sanitizers, the randomised tests with many more rounds, guard
# pages, every float, random calls, the wheel outside of the tree. The head of .ci/check-deep has the list.
check-deep: $(VENV)/.dev
	.ci/check-deep $(PY)

clean:
	rm -rf build dist out *.egg-info $(VENV)
	find fastdl -name '*.so' -delete

# ---- the environment ----

# the packages that building needs, as pyproject.toml lists them: pip then builds in place and only what has changed
$(VENV)/.build: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 10) and f"fastdl needs Python >= 3.10, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv does not work; Debian, Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PY) -c 'import ast, re; print(*ast.literal_eval(re.search(r"^requires = (.*)", open("pyproject.toml").read(), re.M)[1]), sep="\n")' > $(VENV)/build-requires.txt
	$(PIP) --requirement $(VENV)/build-requires.txt
	@touch $@

$(VENV)/.demo $(VENV)/.dev $(VENV)/.peers: $(VENV)/.build $(BUILT_FROM)
	$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@
$(VENV)/.demo:  EXTRAS = plots
$(VENV)/.dev:   EXTRAS = dev
$(VENV)/.peers: EXTRAS = dev,peers
