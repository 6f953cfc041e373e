# Routine commands. `make up` and `make test` do everything on a fresh Debian 12 with Rust.
SHELL := /bin/bash
# Outside the clone, so that several checkouts of the project share compiled dependencies.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/civicnet/target
BIN := $(CARGO_TARGET_DIR)/release/civicnet
ARGS ?=

.PHONY: help up build test lab bench lint fmt fuzz docs clean-var

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: ## install what is missing, build, run the sandbox country (ARGS="--port-base 9000 --traffic off")
	@scripts/install build sandbox
	@cargo build --release --bin civicnet
	@exec $(BIN) up $(ARGS)

build: ## build the binary only
	@scripts/install build
	@cargo build --release --bin civicnet

test: ## install test peers, run every test, print one summary
	@scripts/install build test
	@exec tests/run

lab: ## route servers and members in network namespaces, real packets (needs root)
	@scripts/install build test
	@cargo build --release --bin civicnet
	@CIVICNET_BIN=$(BIN) "$${CIVICNET_CACHE:-$$HOME/.cache/civicnet}/venv/bin/python" -m pytest -q -ra tests/lab -p no:cacheprovider

bench: ## run the side-by-side benchmarks and print ratios
	@scripts/install build bench
	@exec bench/run $(ARGS)

lint: ## formatting, clippy, licences
	@scripts/install build lint
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo deny --log-level error check licenses bans sources

fmt: ## format the Rust code
	cargo fmt --all

fuzz: ## run each fuzz target for a minute (needs clang; uses the stable compiler)
	@scripts/install build fuzz
	@exec fuzz/run $(ARGS)

docs: build ## regenerate the configuration reference, schemas and OpenAPI document in docs/
	$(BIN) config reference > docs/configuration.md
	$(BIN) config schema > docs/configuration.schema.json
	$(BIN) config sample > docs/civicnet.sample.toml
	$(BIN) openapi > docs/openapi.json
	$(BIN) exchange schema > docs/exchange.schema.json
