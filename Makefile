# make demo   segment the sample CT and write demo-output/    (VOLUME=path TASK=prostate for another image)
# make test   run the tests
# make lint   check style
# make env    only create .venv (each of the above does it by itself); PYTHON=python3.12 chooses the interpreter
# pip is asked for the pinned packages of pyproject.toml; nothing else is downloaded.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
  RUN := $(VENV)/Scripts/python
else
  RUN := $(VENV)/bin/python
endif
READY := $(VENV)/ready
TASK ?= abdomen
OUT ?= demo-output
SAMPLE := import pathlib, slicerio; print(next(pathlib.Path(slicerio.__file__).parent.rglob("CTChest4.nrrd")))

.PHONY: env demo test lint
env: $(READY)

$(READY): pyproject.toml
	@echo "Creating $(VENV) with $(PYTHON) (about 3 GB, some minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { echo "Python 3.10 to 3.13 is needed; choose one with PYTHON=python3.12 make env" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --upgrade "pip>=25.1"
	@$(RUN) -m pip install --quiet "torch==2.13.0"
	@$(RUN) -m pip install --quiet --group dev --editable ".[archive,cohort]"
	@touch $@

demo: $(READY)
	@echo "Segmenting $(or $(VOLUME),the sample CT of the slicerio package) for task '$(TASK)' ..."
	@$(RUN) -m MedSegAttentionLib segment "$(or $(VOLUME),$(shell $(RUN) -c '$(SAMPLE)'))" --task $(TASK) --overwrite --output "$(OUT)" --scene

test: $(READY)
	@echo "Running the tests on real MRML, without the Slicer application ..."
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(READY)
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .
