PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is not on PATH is built into .tools/bin, once.
TOOLS := $(if $(shell command -v bd),,bd) $(if $(shell command -v dolt),,dolt)
export PATH := $(CURDIR)/$(BIN):$(PATH):$(CURDIR)/.tools/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9.-]+):.*## /  make \1\t/' | expand -t 24

.PHONY: demo
demo: $(VENV)/installed ## see it work, in a scratch workspace that is removed afterwards
	@PATH="$$(tools/find-bd):$$PATH" $(BIN)/python demo/demo.py

.PHONY: demo-bd-1.3
demo-bd-1.3: $(VENV)/installed ## the same with bd 1.3
	@tools/build bd-1.3
	@mkdir -p .tools/bd-1.3 && ln -sf ../bin/bd-1.3 .tools/bd-1.3/bd
	@PATH="$(CURDIR)/.tools/bd-1.3:$$PATH" $(BIN)/python demo/demo.py

.PHONY: screenshots
screenshots: $(VENV)/installed tools ## take pictures of the page of `watch --listen` into .tools/screenshots (needs chromium)
	@tools/screenshots .tools/screenshots

DOCS := .tools/docs

.PHONY: demo-picture
demo-picture: $(VENV)/installed $(DOCS)/installed ## write docs/demo.svg anew, from real commands
	@PATH="$$(tools/find-bd):$$PATH" $(DOCS)/bin/python docs/picture.py > $(DOCS)/demo.svg
	@mv $(DOCS)/demo.svg docs/demo.svg

$(DOCS)/installed: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip -q install --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: test
test: $(VENV)/installed tools ## the tests, on the real bd and a real Dolt
	$(BIN)/pytest -n 4 --dist worksteal -m "not stress"

.PHONY: stress
stress: $(VENV)/installed tools ## many ticks at once, and ticks and sweeps that are killed at POINTS=40 points (minutes)
	$(BIN)/pytest -n 4 --dist worksteal -m stress $(POINTS:%=--points=%)

.PHONY: test-bd-1.3
test-bd-1.3: $(VENV)/installed tools ## the tests on real parts that are not slow, with bd 1.3 on Dolt 2.2
	@tools/build bd-1.3 dolt-2.2
	$(BIN)/pytest -n 4 --dist worksteal -m "not slow and not stress" --bd bd-1.3 --dolt dolt-2.2 tests/real

.PHONY: quick
quick: $(VENV)/installed tools ## the everyday loop: decisions, a part of the simulation, and ticks and sweeps on real parts
	$(BIN)/pytest -n 4 --dist worksteal -m "not slow and not stress" tests/unit tests/simulation $(QUICK:%=tests/real/test_%.py)

QUICK := bd idle never_twice sweep tick

.PHONY: crash
crash: $(VENV)/installed tools ## kill a tick and a sweep, and fail Dolt, at every point (half an hour)
	$(BIN)/pytest -n 4 tests/real/test_crash.py --points=0

.PHONY: simulate
simulate: $(VENV)/installed ## tick, sweep and watcher in a simulated world: N=100000 schedules from seed BEGIN, or the story of SEED
	PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--begin $(or $(BEGIN),0) --number $(or $(N),10000))

.PHONY: mutate
mutate: $(VENV)/installed ## what share of changes to the decisions and the jobs the simulation and the unit tests notice: SAMPLE=100 LEAST=80
	PYTHONPATH=tests $(BIN)/python -m simulation.mutate --sample $(or $(SAMPLE),100) $(LEAST:%=--least %)

.PHONY: faults
faults: $(VENV)/installed tools ## write docs/faults.md anew: what a tick does for each fault on the wire
	WRITE_FAULTS=1 $(BIN)/pytest tests/real/test_faults.py

.PHONY: pages
pages: $(VENV)/installed ## write the tables of docs/troubleshooting.md and docs/how-it-decides.md anew, from the code
	$(BIN)/python docs/pages.py

.PHONY: bench
bench: $(VENV)/installed tools .bench/installed ## beside a plain shell pair (20 minutes, for docs/benchmarks.md; QUICK=1 ONLY=tick,… print)
	@PYTHONPATH=tests $(BIN)/python bench

# As in the image: not editable, with bytecode, and only what the image has. Matplotlib has an environment of its own.
.bench/installed: requirements-image.txt bench/requirements.txt pyproject.toml $(shell find src -name '*.py')
	@echo "installing beads-dispatch as in the image, to measure it ..."
	@$(PYTHON) -m venv --clear .bench
	@.bench/bin/pip -q install --disable-pip-version-check --require-hashes -r requirements-image.txt
	@$(BIN)/pip -q wheel --disable-pip-version-check --no-build-isolation --no-deps -w .bench/wheel .
	@.bench/bin/pip -q install --disable-pip-version-check --no-deps .bench/wheel/*.whl
	@.bench/bin/python -m compileall -q .bench/lib
	@$(PYTHON) -m venv .bench/chart
	@.bench/chart/bin/pip -q install --no-compile --disable-pip-version-check --require-hashes -r bench/requirements.txt
	@touch $@

.PHONY: lint
lint: $(VENV)/installed ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: tools
tools: ## build the pinned bd and dolt, if they are not on PATH
	@tools/build $(TOOLS)

.PHONY: lock
lock: ## write requirements*.txt anew from pyproject.toml; the image's are a part of the tests'
	$(PYTHON) -m venv .lock && .lock/bin/pip -q install pip-tools
	$(LOCK) --all-extras --all-build-deps -o requirements.txt pyproject.toml
	$(LOCK) -c requirements.txt --extra listen --extra notify -o requirements-image.txt pyproject.toml
	$(LOCK) -c requirements.txt --only-build-deps --all-build-deps -o requirements-build.txt pyproject.toml
	rm -rf .lock

LOCK := .lock/bin/pip-compile -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --allow-unsafe

# --- the image, and all of it on a real Kubernetes ---
.PHONY: image
image: ## build the image with buildah, into .tools/image.tar
	@tools/image beads-dispatch:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) .tools/image.tar

.PHONY: release
release: .tools/release/installed ## build and check what is released, in dist/: sdist, wheel, image and notes
	@tools/release/run

.tools/release/installed: tools/release/requirements.txt requirements-build.txt
	$(PYTHON) -m venv .tools/release
	.tools/release/bin/pip -q install --disable-pip-version-check --require-hashes -r $< -r requirements-build.txt
	@touch $@

.PHONY: e2e
e2e: $(VENV)/installed ## the runbook, executed on a real Kubernetes: KUBECONFIG's, or one that it brings up (see e2e/run)
	@e2e/run

.PHONY: hadolint
hadolint: .tools/hadolint/installed ## lint the Dockerfiles
	.tools/hadolint/bin/hadolint Dockerfile e2e/dolt.Dockerfile

.tools/hadolint/installed: tools/hadolint/requirements.txt
	$(PYTHON) -m venv .tools/hadolint
	.tools/hadolint/bin/pip -q install --disable-pip-version-check --require-hashes -r $<
	@touch $@

# --- the Terraform module and what is made from it ---
DEPLOY := .tools/deploy
DEPLOY_TOOLS := .tools/bin/tflint .tools/bin/terraform-docs

.PHONY: terraform-test
terraform-test: $(DEPLOY)/installed $(DEPLOY_TOOLS) ## the Terraform module, the manifests, the alerts and the dashboard; no cluster needed
	@PATH="$(CURDIR)/$(DEPLOY)/bin:$$PATH" deploy/check

.PHONY: manifests
manifests: $(DEPLOY)/installed ## write the manifests and the alerts anew from the Terraform module
	@eval "$$(tools/terraform-env)" && $(DEPLOY)/bin/python deploy/render.py

.PHONY: terraform-docs
terraform-docs: .tools/bin/terraform-docs ## write the tables in terraform/README.md anew
	@$< terraform

$(DEPLOY)/installed: deploy/tests/requirements.txt
	$(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/pip -q install --disable-pip-version-check --require-hashes -r $<
	@touch $@

.tools/bin/tflint: PACKAGE := github.com/terraform-linters/tflint
.tools/bin/terraform-docs: PACKAGE := github.com/terraform-docs/terraform-docs
$(DEPLOY_TOOLS): .tools/bin/%: tools/%/go.sum
	@echo "building the pinned $* (once, half a minute to two) ..."
	@cd tools/$* && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$(CURDIR)/$@" $(PACKAGE)

.PHONY: clean
clean: ## remove the virtual environment (the built tools stay)
	rm -rf $(VENV)

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	@echo "installing beads-dispatch and the pinned packages of its tests into $(VENV) (once, 10 to 30 seconds) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip -q install --no-compile --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/pip -q install --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
