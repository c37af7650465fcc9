# Everything a person or a CI job runs. Recipes stand in scripts/; build results live outside the clone
# (~/.cache/quiver, or $QUIVER_CACHE), so a second clone is warm.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo stop clean-demo test lint fmt oracle frameworks schemathesis crash cluster-test chart fuzz bench bench-query

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## Install what is missing to build and test (Debian and Ubuntu: apt)
	@scripts/setup build python node

build: ## Build the release binary
	@scripts/setup build
	@scripts/build

demo: ## Build, start a server, load 395,000 word vectors, search them, leave the server running
	@scripts/setup build python
	@scripts/demo

stop: ## Stop the demo's server
	@scripts/stop

clean-demo: ## Stop the demo's server and delete its data folder
	@scripts/stop --delete

test: ## Run everything that gates a change
	@scripts/setup build python node network
	@scripts/test

lint: ## Check formatting and lints, change nothing
	@scripts/setup build
	@scripts/lint

fmt: ## Format the Rust code
	@cargo fmt

oracle: ## Compare long random request sequences with the Python client's local mode
	@scripts/setup build python
	@scripts/oracle

frameworks: ## Run RAG frameworks, unmodified, against a server (LangChain, LlamaIndex, Haystack, mem0, MCP)
	@scripts/setup build python node
	@scripts/framework-tests

schemathesis: ## Send random requests made from the OpenAPI document and check every answer
	@scripts/setup build python
	@scripts/schemathesis

crash: ## Kill the server at random moments under load and check what it acknowledged
	@scripts/setup build python
	@scripts/crash

cluster-test: ## Kill, cut off, pause and wipe the nodes of a cluster under load and check what it answered (needs root)
	@scripts/setup build network
	@scripts/cluster-test

chart: ## Check the Helm chart, and run its pods in a simulated Kubernetes under load (needs root)
	@scripts/setup build python network
	@scripts/chart-test
	@scripts/chart-simulate

fuzz: ## Look for inputs that break what must hold for any input (10 minutes per target, two at a time)
	@scripts/setup build
	@scripts/fuzz

bench: ## Measure the index beside other libraries (benches/RESULTS.md), then the demo's collection beside hnswlib
	@scripts/setup build python python-headers
	@scripts/bench-libraries
	@scripts/bench

bench-query: ## Measure filters, facets, order_by, sparse search and groups beside numpy and SQLite
	@scripts/setup build python
	@scripts/bench-query
