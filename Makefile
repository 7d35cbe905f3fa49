# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

# Everything that is made lies in build/, except the lab (see tests/lab).
VENV := build/venvs/dev
PYTHON := $(VENV)/bin/python
NOX := $(VENV)/bin/nox
CHECKS := $(PYTHON) -u tests/tools/checks.py
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
RUN_AS_ROOT := $(AS_ROOT) /usr/bin/python3 tests/tools/ground.py exec python -u
LAB := $(RUN_AS_ROOT) -m kvmlab
# Tests mount file systems and make namespaces as root; what they wrote to build/ is the caller's again after that.
GIVE_BACK := $(if $(AS_ROOT),$(AS_ROOT) chown -R --reference=Makefile build,true)

# What a bare Debian lacks for the virtual environments; the lab sees to its own. None of it starts a service.
PACKAGES := git ca-certificates python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: packages
packages:
	@command -v dpkg-query >/dev/null || { echo "not a Debian system, please see to: $(PACKAGES)"; exit 0; }; \
	missing=; for package in $(PACKAGES); do \
	  case "$$(dpkg-query --showformat='$${db:Status-Abbrev}' --show $$package 2>/dev/null)" in ii*) ;; *) missing="$$missing $$package";; esac; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	echo "installing:$$missing"; mkdir -p build/logs; \
	{ $(AS_ROOT) apt-get -o DPkg::Lock::Timeout=300 update && \
	  $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $$missing; \
	} > build/logs/packages.log 2>&1 < /dev/null || { tail -n 30 build/logs/packages.log; exit 1; }

.PHONY: setup
setup: packages ## install what is missing, make the virtual environment (fast when all is there)
	@/usr/bin/python3 tests/tools/ground.py venv dev

.PHONY: lint
lint: setup ## static checks and ansible-test sanity
	@$(CHECKS) run lint; $(CHECKS) table lint

.PHONY: unit
unit: lab-packages ## unit tests, and the simulator against NetApp's own client and modules
	@$(AS_ROOT) $(CHECKS) run unit; $(GIVE_BACK); $(CHECKS) table unit

.PHONY: integration
integration: lab-packages ## playbooks and molecule scenarios on the lab
	@$(AS_ROOT) $(CHECKS) run integration; $(GIVE_BACK); $(CHECKS) table integration

.PHONY: test
test: lab-packages ## all of them: lint, unit, integration
	@$(AS_ROOT) $(CHECKS) run test; $(GIVE_BACK); $(CHECKS) table test

.PHONY: integration-long
integration-long: lab-packages ## the tests on the lab that are too many for every run
	@$(AS_ROOT) $(CHECKS) run integration-long; $(GIVE_BACK); $(CHECKS) table integration-long

.PHONY: faults
faults: lab-packages ## the fault matrix: every step of a backup by what may happen to it
	@$(AS_ROOT) $(CHECKS) run faults; $(GIVE_BACK); sed -n '/ fault matrix /,/cells are clean/p' build/logs/faults.log; $(CHECKS) table faults

.PHONY: test-long
test-long: lab-packages ## what is too long for every run: integration-long, faults, and their long series
	@$(AS_ROOT) $(CHECKS) run test-long; $(GIVE_BACK); sed -n '/ fault matrix /,/cells are clean/p' build/logs/faults.log; $(CHECKS) table test-long

.PHONY: prove-old
prove-old: lab-packages ## the tests of faults that were seen, against the commit that has them (OPTIONS=--lab: on the lab too)
	@$(RUN_AS_ROOT) tests/tools/prove_old.py $(OPTIONS); status=$$?; $(GIVE_BACK); exit $$status

.PHONY: bench
bench: lab-packages ## how long guests are held and restores take, beside what a user would do without this collection
	@$(RUN_AS_ROOT) tests/bench/bench.py; status=$$?; $(GIVE_BACK); exit $$status

.PHONY: bench-old
bench-old: lab-packages ## hold, time off and run time beside those of the commit that prove-old knows (OPTIONS=--rounds 5)
	@$(RUN_AS_ROOT) tests/bench/beside_old.py $(OPTIONS); status=$$?; $(GIVE_BACK); exit $$status

.PHONY: sanity
sanity: setup ## ansible-test sanity alone, on both versions of ansible-core
	@$(NOX) --session sanity-2.16 sanity-2.19

.PHONY: demo
demo: setup ## back up two running guests, destroy one, restore it, show the proof; leaves the lab up
	@$(RUN_AS_ROOT) tests/demo/demo.py

.PHONY: lab-packages
lab-packages: setup
	@$(LAB) packages

.PHONY: lab-up lab-down lab-clean lab-status lab-ssh
lab-up: setup ## start the lab: an ONTAP simulator, a real KVM host, guests
	@$(LAB) up
lab-down: setup ## stop the lab and leave nothing running
	@$(LAB) down
lab-clean: setup ## stop the lab and remove all it has made, its cache too
	@$(LAB) clean
lab-status: setup ## tell whether the lab is up
	@$(LAB) status
lab-ssh: setup ## open a shell on the lab's KVM host
	@$(LAB) ssh

.PHONY: docs
docs: setup ## build the documentation as HTML
	@$(NOX) --session docs

.PHONY: build
build: setup ## build the archive for Ansible Galaxy
	@$(NOX) --session build

.PHONY: format
format: setup ## bring the Python files into form
	@$(NOX) --session format

.PHONY: clean
clean: ## remove build/ (the lab stays, see lab-clean)
	@rm -rf build 2>/dev/null || $(AS_ROOT) rm -rf build
