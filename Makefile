# Every target installs what it needs into .venv; nothing else has to be on the machine but Python 3.10 or newer.
PYTHON ?= python3
BIN := .venv/bin
RUNS := checkpoints/runs

.PHONY: help install demo test test-slow test-gpu test-lower check docs schema format pretrain atlas report clean

help:
	@echo "make demo      zero-shot -> LoRA -> the same evaluator -> report, on drawn rails, on a CPU (some minutes)"
	@echo "make reproduce the README's answer: tune, train, score, compare; reproduce.mk says how (make -j6 reproduce MINUTES=12)"
	@echo "make test      the tests"
	@echo "make test-gpu  what only a GPU can show (about 5 minutes on one)"
	@echo "make test-lower  unit and reference tests with the oldest versions that pyproject.toml allows"
	@echo "make check     lint, types, documentation"
	@echo "make docs      the documentation as a site in site/; fails on any warning"
	@echo "make schema    the JSON schemas by which editors complete and check configs/, after a change of samis/config"
	@echo "make pretrain  make the embedded SAM again, in two stages, and embed it; see train/README.md for what a GPU hour gives"
	@echo "make atlas     compare adapters on the embedded SAM: docs/peft-atlas.md (JOBS=16 on a GPU; hours on a CPU)"
	@echo "make report    the comparison report, the README's answer and docs/results.md from evaluate/results"

install: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: install
	$(BIN)/samis demo

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow

test-gpu: install
	$(BIN)/python -m pytest tests/gpu -m gpu --durations=0

# The oldest versions that pyproject.toml allows, in an environment of their own; uv resolves to the lower bounds.
test-lower:
	test -x .venv-lower/bin/python || $(PYTHON) -m venv .venv-lower
	.venv-lower/bin/python -m pip install --quiet uv
	VIRTUAL_ENV=.venv-lower .venv-lower/bin/uv pip install --quiet --resolution lowest-direct --editable '.[lower]'
	.venv-lower/bin/python -m pytest tests/unit tests/reference

check: install docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

schema: install
	$(BIN)/python -m samis.config.editor_schema configs

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pretrain: install
	@echo "What a GPU hour gives, and how to go on from the committed weights: train/README.md, Pretraining the embedded SAM"
	$(BIN)/python train/pretrain.py configs/pretrain.yaml
	$(BIN)/python train/pretrain.py configs/pretrain_focal.yaml
	$(BIN)/python train/pretrain.py configs/pretrain.yaml --embed $(RUNS)/pretrain $(RUNS)/pretrain_focal

atlas: install
	$(BIN)/python benchmarks/peft_atlas.py --jobs $(or $(JOBS),2) --page docs/peft-atlas.md

report: install
	$(BIN)/python evaluate/compare.py evaluate/results --out reports/results --published $(if $(wildcard reports/maps),--maps reports/maps) --readme README.md --results docs/results.md
	cp reports/results/figures/gap.png docs/answer.png

clean:
	rm -rf reports .pytest_cache .mypy_cache .ruff_cache

include reproduce.mk
