# Every command of this repository. `make` alone lists them.
#
# One profile, `ci`, serves build, tests, demo and benchmarks, and every build selects the whole workspace: Cargo joins the
# features of what is selected, so that another selection would compile the wasm engine again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build test lint demo bench fuzz audit golden

CARGO ?= cargo
PROFILE := ci
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
export CARGO_TARGET_DIR := $(TARGET)
# Agents' native tests have their own workspace and so their own folder.
AGENTS_TARGET := $(TARGET)/agents-native

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## Checks the Rust toolchain and installs what building agents needs
	@scripts/setup.sh

build: ## Builds the one binary: target/ci/podium
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins

lint: ## Formatting and clippy, warnings are errors
	@scripts/lint.sh

test: setup ## Everything that CI checks
	scripts/lint.sh
	$(CARGO) build --locked --profile $(PROFILE) --workspace --all-targets
	$(CARGO) test --locked --profile $(PROFILE) --workspace --no-fail-fast
	$(CARGO) test --locked --manifest-path agents/Cargo.toml --workspace --target-dir $(AGENTS_TARGET) --no-fail-fast

demo: setup ## An agent answers from this repository's documents, and survives kill -9
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins
	scripts/demo.sh

bench: setup ## Podium beside its peers; writes docs/benchmarks.md. ROWS="warm free" selects and only prints
	$(CARGO) build --locked --profile $(PROFILE) --workspace --all-targets
	tests/bench/peers/install.sh
	$(TARGET)/$(PROFILE)/podium-bench $(or $(ROWS),--write)

fuzz: ## Fuzzes what strangers send, RUNS=1000000 inputs a target; needs nightly and cargo-fuzz
	scripts/fuzz.sh

audit: ## Dependencies: bans, licences and sources
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --workspace check bans licenses sources

golden: ## Rewrites the golden JSON and the generated guide after a wanted change
	UPDATE_GOLDEN=1 $(CARGO) test --profile $(PROFILE) -p podium-wire --test golden
