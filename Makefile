# The commands of README.md. Everything is idempotent.
.PHONY: help install demo test lint bench clean
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

install: ## the set-up alone: packages, kubectl, .venv/bin/podloom
	@scripts/install.sh

demo: install ## bring up the lab, create the documented overlay cluster, probe it, show the result
	@scripts/demo.sh

test: ## install what is needed and pass all tests (as root: all tiers)
	@scripts/install.sh tests
	@scripts/test.sh $(TESTS)

lint: install ## style, types and import contracts
	@scripts/lint.sh

bench: install ## one figure: make bench NAME=cni-add; without NAME: the list
	@$(PYTHON) -m bench $(NAME)

clean: ## leave nothing of ours on the machine
	@scripts/clean.sh
