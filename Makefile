# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
OUT ?= benchmark-results

# nltk refuses hard-linked data files, which uv makes by default (run-llama/llama_index#22839).
export UV_LINK_MODE := copy

.PHONY: help install demo test test-all lint format bench clean

help:  ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed  ## Make .venv and install the package with its development tools

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.6"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev --editable ".[dashscope,openai]"
	touch $@

demo: install  ## Parse real documents, store them in Milvus, answer questions with citations
	$(BIN)/llama-index-raganything demo

test: install lint  ## Lint, type check and run the tests (under ten minutes)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-all: install lint  ## The same with the slow tests, a real Milvus server among them
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m ""

lint: install  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## Run all benchmarks: make bench DATA=folder
	@test -n "$(DATA)" || { echo "Name the data folder: make bench DATA=path"; exit 2; }
	mkdir -p $(OUT)
	$(BIN)/python -m benchmarks.pages $(DATA)/pages --json $(OUT)/pages.json
	$(BIN)/python -m benchmarks.context $(DATA)/pages $(DATA)/pages_more --json $(OUT)/context.json
	$(BIN)/python -m benchmarks.passages $(DATA)/passages/tatqa --json $(OUT)/tatqa.json
	$(BIN)/python -m benchmarks.passages $(DATA)/passages/hotpotqa --json $(OUT)/hotpotqa.json
	$(BIN)/python -m benchmarks.passages $(DATA)/passages/musique --json $(OUT)/musique.json
	$(BIN)/python -m benchmarks.tables $(DATA)/passages/tatqa --json $(OUT)/tables.json
	$(BIN)/python -m benchmarks.parsing $(DATA)/documents --json $(OUT)/parsing.json
	$(BIN)/python -m benchmarks.robustness $(DATA)/hostile --json $(OUT)/robustness.json
	$(BIN)/python -m benchmarks.ingest $(DATA)/pages/pdf --json $(OUT)/ingest.json
	$(BIN)/python -m benchmarks.latency $(DATA)/passages/tatqa --json $(OUT)/latency.json
	$(BIN)/python -m benchmarks.graph_delete $(DATA)/passages/musique --json $(OUT)/graph_delete.json
	$(BIN)/python -m benchmarks.graph_scale $(DATA)/passages/musique --json $(OUT)/graph_scale.json
	$(BIN)/python -m benchmarks.embedding --json $(OUT)/embedding.json
	$(BIN)/python -m benchmarks.entered --json $(OUT)/entered.json

clean:  ## Remove what make made
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache
