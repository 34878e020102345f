# Two commands set everything up on a fresh machine with Python >= 3.11 and make: `make reproduce` and `make test`.
# `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
STUDY ?= config/digits.yaml
# A folder of profiles/: where jobs run. CORES=2 goes before what it says.
PROFILE ?= default
missing = $(strip $(foreach file,$(1),$(if $(wildcard $(file)),,$(file))))
$(if $(call missing,$(STUDY)),$(error STUDY: there is no $(call missing,$(STUDY))))
$(if $(call missing,profiles/$(PROFILE)),$(error PROFILE: there is no profiles/$(PROFILE); there are $(notdir $(wildcard profiles/*))))
SNAKEMAKE = snakemake --workflow-profile profiles/$(PROFILE) $(if $(CORES),--cores $(CORES)) --configfile $(STUDY)
# glibc gives memory back to the system and asks for it again, at times that vary from run to run: losses are measured
# with and without.
KEEP_MEMORY := MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=33554432

BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
export PROFILE
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help reproduce test package-test slurm-test reliability bench docs pictures lint format schema dry-run report dvc repro pull push results ledger clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | column -t -s '|'

reproduce: $(READY) ## Rebuild every result of STUDY (default config/digits.yaml), up to the typeset paper
	$(SNAKEMAKE)

# Files in their order, the long ones of the pipeline first: no worker waits for the other at the end.
test: $(READY) ## Run the tests
	pytest -n 2 --dist loadfile --no-loadscope-reorder

package-test: ## Build sdist and wheel, install the wheel alone in a clean environment, train a network there
	tests/package/run "$(PYTHON)"

slurm-test: $(READY) ## Start a SLURM cluster of one node, run the smoke study through it, stop it (needs root, slurm-wlm, munge)
	pytest -m slurm -rs tests/pipeline/test_slurm.py

reliability: $(READY) ## Try faults on a tiny study (kills, full disks, damage) and write what happened to docs/reliability.md
	pytest -m fault -n 2 --dist loadfile --no-loadscope-reorder --faults=docs/reliability.md

bench: $(READY) ## Measure losses, sampling, denoising and training against their baselines, into benchmarks/results.md
	mkdir -p results
	pytest benchmarks --benchmark-json=results/benchmarks.json
	$(KEEP_MEMORY) pytest benchmarks/test_losses.py --benchmark-json=results/benchmarks-kept.json
	python benchmarks/report.py results/benchmarks.json results/benchmarks-kept.json

docs: $(READY) ## Build docs/ into site/, offline, every warning an error
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

pictures: $(READY) ## Draw the pictures of README.md and docs/ that show the default study's network, into docs/images/
	$(SNAKEMAKE) -- results/digits/normal-normal/weights.safetensors
	python docs/pictures.py

lint: $(READY) ## Check formats, style and which room imports which, as CI does
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports --no-cache --no-logo

format: $(READY) ## Format all code
	ruff format .
	ruff check --fix --quiet .
	snakefmt Snakefile workflow

schema: $(READY) ## Export the JSON schema of study files from the code
	nonnormal schema

dry-run: $(READY) ## List what reproduce would do
	$(SNAKEMAKE) --dry-run

report: $(READY) ## Write Snakemake's HTML report of STUDY
	snakemake --configfile $(STUDY) --report results/report.html

dvc: $(READY) ## Write the stages of STUDY for DVC: dvc.yaml, or pipelines/NAME/dvc.yaml if it is not the headline study
	nonnormal dvc $(STUDY)

repro: $(READY) ## Rebuild the study of dvc.yaml by DVC, which versions data, weights and results
	dvc repro

# Only if all of them belong to the study and the code that are here. --forceall, so that Snakemake has records of
# each: it cannot know of a file without them that a setting has changed since.
pull: $(READY) ## Fetch versioned results of STUDY from the DVC remote, and make Snakemake agree that they are up to date
	dvc pull
	@dvc status --quiet || { dvc status; echo 'error: what was fetched is not of this study and code; dvc repro makes the rest'; exit 1; }
	snakemake --cores 1 --configfile $(STUDY) --touch --forceall --quiet all

push: $(READY) ## Send versioned results to the DVC remote
	dvc push

results: $(READY) ## Write the finished results of STUDY to docs/results/, pictures to docs/images/
	nonnormal results $(STUDY)

ledger: $(READY) ## Judge the claims by all studies whose results git keeps, into results/claims.csv and docs/results/claims.md
	nonnormal ledger $(dir $(shell git ls-files 'results/*/summary.csv'))

clean: ## Remove results, data and environment, but nothing that git keeps
	git clean -ffdXq -- results data site paper .snakemake
	rm -rf "$(VENV)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; say which with PYTHON=")'
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --constraint constraints.txt --editable '.[study,dev]'
	@touch "$@"
