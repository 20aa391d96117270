# `make help` lists what there is. Go, make and git are all that it needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ROOT := $(CURDIR)
TOOLS := $(ROOT)/bin/tools

# The race detector needs cgo, and cgo a C compiler.
RACE = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: build controlplane ## Start the whole system on this machine, with two synthetic clients; Ctrl-C ends it.
	@exec bin/nagi

.PHONY: build
build: ## Build every program into bin/.
	@go build -o bin/ ./cmd/...

.PHONY: controlplane
controlplane: ## Get etcd, kube-apiserver and kubectl: downloaded, else built (5 minutes, once).
	@hack/controlplane/assets.sh >/dev/null

##@ Check

.PHONY: test
test: build ## Vet and test every package, with real processes; needs no browser and no root.
	@$(if $(RACE),:,echo 'no C compiler: testing without the race detector' >&2)
	@go vet ./...
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && go test $(RACE) -timeout 20m ./...
	@cd hack/images && go test -timeout 15m ./...
	@$(MAKE) manifests-check

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/buf ## Lint the Go code, the API types and the protocol.
	@$(TOOLS)/golangci-lint run
	@GOOS=darwin go vet ./mediaserver/udp # The one package that is written for each system.
	@$(TOOLS)/buf lint

.PHONY: manifests-check
manifests-check: $(TOOLS)/kubeconform $(TOOLS)/kube-score ## Have kubeconform and kube-score judge what config/ installs.
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && hack/manifests/check.sh

.PHONY: verify
verify: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc $(TOOLS)/controller-gen ## Fail when generated code, manifests or go.mod are not what their sources make.
	@hack/verify.sh

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s).
	@hack/fuzz.sh "$(or $(FUZZTIME),10s)"

.PHONY: flake
flake: ## Run tests 20 times at low priority beside load (FLAKE='-n 100 -run TestOrder ./mediaserver/fanout').
	@hack/flake.sh $(FLAKE)

.PHONY: test-faults
test-faults: controlplane ## Kill, freeze, cut off and rewrite real processes under load: JSON lines, 25 minutes (ROUNDS=25).
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && cd hack/e2e && go test -run '^TestFaults$$' -parallel 3 -timeout 60m -args -faults -rounds=$(or $(ROUNDS),25)

.PHONY: e2e-browser
e2e-browser: build controlplane ## Test with Chromium, Firefox, sora-js-sdk and HTTPie (installs them: root, Debian).
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && hack/e2e/browser/run.sh

.PHONY: e2e-cluster
e2e-cluster: own-images ## Test what is installed on a cluster of three real nodes, made here (root, Debian; CLUSTER='-rounds 1').
	@hack/cluster/run.sh
	@go test -count=1 -tags cluster -v ./hack/cluster
	@TAGS=installed BUILD=$(ROOT)/bin/cluster/browser.test hack/e2e/browser/run.sh
	@go test -tags cluster -c -o bin/cluster/ ./hack/e2e/cluster
	@cd hack/e2e/cluster && exec $(ROOT)/hack/cluster/run.sh $(ROOT)/bin/cluster/cluster.test -test.v -test.timeout 30m $(CLUSTER)

.PHONY: cluster
cluster: own-images ## Start a cluster of three real nodes on this machine, and a shell with kubectl in it (root, Debian); Ctrl-D removes it.
	@exec hack/cluster/run.sh bash

.PHONY: own-images
own-images: # Those that the manifests name, for this machine alone.
	@$(MAKE) images IMAGES=--platforms=linux/$$(go env GOARCH) REGISTRY=localhost TAG=dev >/dev/null

.PHONY: bench-network
bench-network: ## Measure what a browser sees on bad networks, beside LiveKit: JSON lines, an hour (RUNS=1).
	@go build -o bin/ ./cmd/mediaserver
	@[ -x bin/bench/server ] || GOBIN=$(ROOT)/bin/bench go install github.com/livekit/livekit-server/cmd/server@v1.13.5
	@TAGS=network RUN='TestNetwork|TestSwitches' TIMEOUT=90m hack/e2e/browser/run.sh

.PHONY: e2e-browser-all
e2e-browser-all: ## The same with all pairs of clients, not some of each kind: about 30 minutes.
	@TAGS=all TIMEOUT=60m $(MAKE) e2e-browser

.PHONY: bench-forwarding
bench-forwarding: ## Measure a forwarded packet's cost beside LiveKit, Janus and a floor (BENCH='--runs=1 ...').
	@go build -o bin/ ./cmd/mediaserver
	@[ -x bin/bench/server ] || GOBIN=$(ROOT)/bin/bench go install github.com/livekit/livekit-server/cmd/server@v1.13.5
	@cd hack/bench && go build -o $(ROOT)/bin/bench/bench .
	@exec bin/bench/bench $(BENCH)

.PHONY: bench-switch
bench-switch: ## Measure how fast a receiver changes over to another layer (SWITCH='--switches=60').
	@cd hack/bench && go build -o $(ROOT)/bin/bench/bench .
	@exec bin/bench/bench switch $(SWITCH)

.PHONY: bench-gate
bench-gate: ## Fail when a forwarded packet costs too much beside the floor; 20 seconds (GATE='--limit=1.5').
	@go build -o bin/ ./cmd/mediaserver
	@cd hack/bench && go build -o $(ROOT)/bin/bench/bench .
	@exec bin/bench/bench gate $(GATE)

.PHONY: bench-pause
bench-pause: build controlplane ## Measure how fast a pause acts, beside its API server alone, LiveKit and Janus (PAUSE='--rounds=20 ...').
	@[ -x bin/bench/server ] || GOBIN=$(ROOT)/bin/bench go install github.com/livekit/livekit-server/cmd/server@v1.13.5
	@cd hack/bench && go build -o $(ROOT)/bin/bench/bench .
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && exec bin/bench/bench pause $(PAUSE)

.PHONY: bench-control
bench-control: build controlplane ## Measure the control plane with 100,000 pauses and 1,000 media servers (CONTROL='--samples=50 ...').
	@mkdir -p bin/bench && cd hack/bench && go build -o $(ROOT)/bin/bench/control ./control
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && exec bin/bench/control $(CONTROL)

.PHONY: bench-channel
bench-channel: ## Measure what it costs to come to a channel of 50 and of 200, and to leave it (CHANNEL='--rounds=1 ...').
	@go build -o bin/ ./cmd/mediaserver
	@cd hack/bench && go build -o $(ROOT)/bin/bench/bench .
	@exec bin/bench/bench channel $(CHANNEL)

.PHONY: bench-handover
bench-handover: build controlplane ## Measure the gap in the media when a media server drains: a JSON line, 5 minutes (ROUNDS=10).
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && \
	  go test ./hack/e2e -count 1 -timeout 30m -run '^TestHandOver$$' -programs $(ROOT)/bin -rounds $(or $(ROUNDS),10) -v | \
	  awk '/^{/ {print; next} {print >"/dev/stderr"}'

##@ Install

# What the images are called: localhost/nagi-manager:dev and so on. IMAGES has further options, such as
# --platforms=linux/amd64.
REGISTRY ?= localhost
TAG ?= dev

.PHONY: images
images: ## Make the container images in dist/images, without a daemon (REGISTRY=registry.example/nagi TAG=v1).
	@cd hack/images && go run . --registry=$(REGISTRY) --tag=$(TAG) --out=$(ROOT)/dist/images $(IMAGES)

.PHONY: build-installer
build-installer: controlplane ## Write dist/install.yaml, which installs everything with `kubectl apply -f` (REGISTRY, TAG, OVERLAY=default).
	@KUBEBUILDER_ASSETS="$$(hack/controlplane/assets.sh)" && export KUBEBUILDER_ASSETS && hack/manifests/installer.sh $(or $(OVERLAY),default) $(REGISTRY) $(TAG) dist/install.yaml
	@echo dist/install.yaml

##@ Generate

.PHONY: generate
generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc $(TOOLS)/controller-gen ## Make the Go code of the protocol and of the API types.
	@$(TOOLS)/buf generate
	@$(TOOLS)/controller-gen object applyconfiguration:omitToolVersion=true paths=./api/v1alpha1

.PHONY: manifests
manifests: $(TOOLS)/controller-gen ## Make the CRD and the roles in config/.
	@$(TOOLS)/controller-gen crd paths=./api/v1alpha1 output:crd:artifacts:config=config/crd/bases
	@$(TOOLS)/controller-gen rbac:roleName=nagi-manager paths=./controllers/... paths=./cmd/manager/... output:rbac:artifacts:config=config/rbac/manager
	@$(TOOLS)/controller-gen rbac:roleName=nagi-shim paths=./cmd/shim/... output:rbac:artifacts:config=config/rbac/shim

.PHONY: tools
tools: $(addprefix $(TOOLS)/,buf protoc-gen-go protoc-gen-go-grpc controller-gen golangci-lint kubeconform kube-score) ## Build the tools that the other targets use, at their pinned versions.
	@cd hack/tools/crds && go mod download github.com/cert-manager/cert-manager github.com/prometheus-operator/prometheus-operator sigs.k8s.io/gateway-api

##@ Clean

.PHONY: clean
clean: ## Remove the built programs; tools and control plane stay.
	@find bin -maxdepth 1 -type f -delete 2>/dev/null || true
	@find . -name rapid -path '*/testdata/*' -type d -prune -exec rm -r {} +

.PHONY: clean-all
clean-all: clean ## Remove all of bin/ and dist/; the control plane takes 5 minutes to build again.
	@rm -rf bin dist

# Each tool is built from the module that pins it, and again when that changes.
build-tool = @echo 'building $(notdir $@)' >&2 && cd $(dir $<) && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $@

$(TOOLS)/protoc-gen-go: hack/tools/go.mod hack/tools/go.sum
	$(build-tool) google.golang.org/protobuf/cmd/protoc-gen-go

$(TOOLS)/protoc-gen-go-grpc: hack/tools/go.mod hack/tools/go.sum
	$(build-tool) google.golang.org/grpc/cmd/protoc-gen-go-grpc

$(TOOLS)/controller-gen: hack/tools/go.mod hack/tools/go.sum
	$(build-tool) sigs.k8s.io/controller-tools/cmd/controller-gen

$(TOOLS)/buf: hack/tools/buf/go.mod hack/tools/buf/go.sum
	$(build-tool) github.com/bufbuild/buf/cmd/buf

$(TOOLS)/kubeconform: hack/tools/manifests/go.mod hack/tools/manifests/go.sum
	$(build-tool) github.com/yannh/kubeconform/cmd/kubeconform

$(TOOLS)/kube-score: hack/tools/manifests/go.mod hack/tools/manifests/go.sum
	$(build-tool) github.com/zegl/kube-score/cmd/kube-score

$(TOOLS)/golangci-lint: hack/tools/lint/go.mod hack/tools/lint/go.sum hack/tools/lint/main.go
	$(build-tool) .
