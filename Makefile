# "make help" lists the targets. Each starts from a fresh clone: it installs what it lacks (scripts/install-deps).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO := scripts/go
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# How long a fuzz target runs, and what else the tests of real programs get (ARGS=-e2e.long).
FUZZTIME ?= 20s
ARGS ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# One static binary: libseccomp and the C library are in it, names are resolved and users found by Go.
BUILDFLAGS = -trimpath -buildvcs=false -tags netgo,osusergo \
	-ldflags '-w -X main.version=$(VERSION) -linkmode external -extldflags -static'
# The same with AWS's clients: cmd/boxer/noaws.go says why that is another program.
comma := ,
AWSFLAGS = $(subst netgo$(comma),aws$(comma)netgo$(comma),$(BUILDFLAGS))
# The same with what reads compose files and images: cmd/boxer/noup.go says why.
COMPOSEFLAGS = $(subst netgo$(comma),compose$(comma)netgo$(comma),$(BUILDFLAGS))

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

.PHONY: build
build: deps-build ## build bin/boxer, one static binary
	@CGO_ENABLED=1 scripts/tell "build bin/boxer" $(GO) build $(BUILDFLAGS) -o bin/boxer ./cmd/boxer
	@CGO_ENABLED=1 scripts/tell "build bin/boxer-aws" $(GO) build $(AWSFLAGS) -o bin/boxer-aws ./cmd/boxer
	@CGO_ENABLED=1 scripts/tell "build bin/boxer-compose" $(GO) build $(COMPOSEFLAGS) -o bin/boxer-compose ./cmd/boxer
	@scripts/is-static bin/boxer
	@scripts/own bin .tools

.PHONY: build-arm64
build-arm64: deps-arm64 ## build bin/boxer-arm64, the same for arm64
	@CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig \
		$(GO) build $(BUILDFLAGS) -o bin/boxer-arm64 ./cmd/boxer
	@CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig \
		$(GO) build $(AWSFLAGS) -o bin/boxer-aws-arm64 ./cmd/boxer
	@CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig \
		$(GO) build $(COMPOSEFLAGS) -o bin/boxer-compose-arm64 ./cmd/boxer
	@scripts/is-static bin/boxer-arm64
	@scripts/own bin .tools

.PHONY: release
release: build build-arm64 ## make dist/: binaries, archives, .deb packages, checksums, bill of materials
	@scripts/release $(VERSION)

.PHONY: vulncheck
vulncheck: deps-build ## look for known vulnerabilities in what boxer calls (asks vuln.go.dev)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

# Lint is the first step: what follows runs also if it fails.
.PHONY: test
test: deps-test modules build ## check the code and run every test; ARGS=-e2e.long, ARGS='-only e2e,bench', ARGS=-help
	@$(GO) build -trimpath -buildvcs=false -o bin/check ./internal/check
	@scripts/own bin .tools
	@bin/check $(ARGS)

.PHONY: test-short
test-short: deps-build ## run the short tests of the packages, without real programs
	@# The race detector sleeps for a second at the end of each process, which the tests start many of.
	GORACE=atexit_sleep_ms=0 $(GO) test -short -race $$($(GO) list ./... | grep -vE "/(e2e|examples|conformance)$$")
	GORACE=atexit_sleep_ms=0 QUIC_GO=published $(GO) test -short -race ./transport/...

.PHONY: conformance
conformance: deps-suites modules suites build ## compare programs, and test suites of others, bare and under boxer
	$(GO) test -v -count=1 -timeout 60m ./conformance/ -suites $(ARGS)

.PHONY: suites
suites: deps-suites
	@scripts/tell "test suites" scripts/suites

# The tests build programs of other modules where there is no network.
.PHONY: modules
modules: deps-build
	@for dir in examples/*/go.mod; do (cd "$${dir%/go.mod}" && "$(CURDIR)/scripts/tell" "modules of $${dir%/go.mod}" "$(CURDIR)/scripts/go" mod download); done
	@cd conformance/modules && "$(CURDIR)/scripts/tell" "modules of conformance" "$(CURDIR)/scripts/go" mod download all # also what their tests import
	@scripts/tell "modules of the older boxer" scripts/older-modules

.PHONY: demo
demo: deps-demo build ## show it: PostgreSQL behind one NAT, pgbench behind another
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/demo ./internal/demo
	@bin/demo bin/boxer

.PHONY: demo-lambda
demo-lambda: deps-demo build ## show it in functions: a small AWS Lambda, PostgreSQL in one, pgbench in another
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/ ./internal/demolambda ./internal/jail
	@scripts/own bin
	@bin/demolambda bin/boxer bin/jail

.PHONY: bench
bench: ## measure boxer beside native TCP and others, see docs/performance.md; ARGS=-help
	@$(if $(filter -h -help --help,$(ARGS)),$(MAKE) deps-build,$(MAKE) deps-bench build bench-tunnels)
	@cd bench && CGO_ENABLED=0 ../scripts/tell "build bin/bench" ../scripts/go build -trimpath -buildvcs=false -o ../bin/ .
	@scripts/own bin
	@bin/bench -boxer bin/boxer -tunnels bin/tunnels -joins bin/joinbench $(ARGS)

.PHONY: bench-tunnels
bench-tunnels: deps-build
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/joinbench ./internal/joinbench
	@cd bench && CGO_ENABLED=0 ../scripts/tell "build bin/tunnels" ../scripts/go build -trimpath -buildvcs=false -o ../bin/ ./tunnels

.PHONY: profile
profile: deps-profile build ## take a CPU profile of boxer in the lab of make bench; ARGS as there
	@cd bench && CGO_ENABLED=0 ../scripts/go build -trimpath -buildvcs=false -o ../bin/ .
	@scripts/profile $(ARGS)

.PHONY: kernels
kernels: deps-kernels build ## run a short form of the tests on other kernels, under QEMU; ARGS=-help
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/kernels ./internal/kernels
	@mkdir -p .tools
	@bin/kernels $(ARGS)

.PHONY: lint
lint: deps-lint ## check the format, vet, and run staticcheck and shellcheck
	@scripts/lint $(STATICCHECK)

.PHONY: fuzz
fuzz: deps-build ## run each fuzz target for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin dist

.PHONY: deps-build deps-lint deps-arm64 deps-demo deps-bench deps-kernels deps-profile deps-test
deps-build deps-lint deps-arm64 deps-demo deps-bench deps-kernels deps-profile deps-test: deps-%:
	@scripts/install-deps $*
