# Everything that is done with this repository; `make` lists it.

CARGO   ?= cargo
PROVIDE := tests/services/provide
# cargo-nextest when it is there, else cargo's own runner.
RUN     := $(shell $(CARGO) nextest --version >/dev/null 2>&1 \
	&& echo "$(CARGO) nextest run --locked --no-fail-fast" || echo "$(CARGO) test --locked --no-fail-fast --test it")

.DEFAULT_GOAL := help
.PHONY: help build check test demo bench soak planted fmt lint openapi

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary, target/release/kairos
	$(CARGO) build --release --locked

check: ## compile everything, run nothing
	$(CARGO) check --locked --all-targets

test: ## every test, on SQLite and PostgreSQL and with Redis; T=word runs those whose name has the word
	$(PROVIDE) $(RUN) $(T)

demo: ## a flight lands at Orly and its passengers get their push; ARGS=--headless for full speed
	$(CARGO) run --release --locked -- demo $(ARGS)

bench: ## the figures as ratios, in target/bench.json; F=fanout takes that one alone
	@command -v h2load >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy nghttp2-client; } \
		|| { echo "make bench needs h2load: install it (Debian: nghttp2-client)"; exit 1; }
	$(PROVIDE) $(CARGO) bench --locked --bench drive -- $(F)
	@echo "The pure core alone, under divan: cargo bench --bench core"

soak: ## the kill -9 loop, 200 kills on each database
	KAIROS_TEST_KILLS=200 $(PROVIDE) $(RUN) kill_9

planted: ## plant one bug after the other; each must turn its tests red
	$(PROVIDE) tests/planted/run

fmt: ## format the sources
	$(CARGO) fmt

lint: ## format check and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

openapi: ## write sdk-schemas/openapi.json from the code
	mkdir -p sdk-schemas
	$(CARGO) run --locked -- openapi > sdk-schemas/openapi.json.new
	mv sdk-schemas/openapi.json.new sdk-schemas/openapi.json
