# make run and make test do everything themselves on a Debian machine with Go: see docs/testing.md.
SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin
# One way to compile everything, so that nothing is compiled twice; the race detector alone needs C.
export CGO_ENABLED := 0

comma := ,
benchmarks = go test -run '^$$' -bench . -benchtime 3x
triggers = go test -run '^$$' -bench . -benchtime 9x ./provisioner/endtoend
crowds = go test -count=1 -timeout 300m ./provisioner/endtoend

.PHONY: help run test podman kubernetes current check format bench soak images build image clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

run: ## build wharf and run examples/hello with it, in real containers
	@scripts/setup run
	@go build -o bin/wharf ./cmd/wharf
	@scripts/with-docker busybox bin/wharf run examples/hello

test: ## all checks and all tests
	@scripts/setup test
	@scripts/check source
	@scripts/with-docker -lock=test busybox,go,worker scripts/check tests
	@scripts/with-containerd -lock=test busybox,worker scripts/check driver containerd
	@scripts/with-podman -lock=test busybox,worker scripts/check driver podman
	@scripts/with-podman -lock=test -rootless busybox scripts/check rootless podman
	@scripts/with-kubernetes -lock=test busybox,helper,worker scripts/check driver kubernetes
	@scripts/with-docker -lock=test busybox,go scripts/with-podman busybox,go scripts/with-kubernetes busybox,go,helper scripts/check examples
	@scripts/check author

podman: ## the tests of the Podman driver alone, rootful and rootless
	@scripts/setup test
	@scripts/with-podman -lock=test busybox,worker scripts/check driver podman
	@scripts/with-podman -lock=test -rootless busybox scripts/check rootless podman

kubernetes: ## the tests of the Kubernetes driver alone, with the race detector
	@scripts/setup test
	@WHARF_TEST_RACE=1 scripts/with-kubernetes -lock=test busybox,helper,worker scripts/check driver kubernetes

current: ## the tests of the drivers for Docker and containerd on current versions of these, which are built first
	@scripts/setup test
	@current=$$(scripts/current-docker) && \
		scripts/with-docker -lock=test -private -bin="$$current" busybox scripts/check driver docker && \
		scripts/with-containerd -lock=test -bin="$$current" busybox,worker scripts/check driver containerd

check: ## the checks of the source alone; needs no Docker
	@scripts/setup test
	@scripts/check source

format: ## format the source
	@git ls-files -co --exclude-standard -- '*.go' ':!*.pb.go' | xargs -r -d '\n' go tool -modfile=tools/lint/go.mod goimports -w -local github.com/wharfci/wharf

bench: ## measure against the bare API of each runtime
	@scripts/setup test
	@go build -o bin/wharf ./cmd/wharf
	@go build -o bin/bench ./bench
	@scripts/with-docker -lock=test busybox bin/bench -wharf bin/wharf
	@$(benchmarks) ./worker/journal ./worker/server
	@scripts/with-docker -lock=test busybox,worker $(triggers)
	@scripts/with-podman -lock=test busybox $(benchmarks) ./driver/podman
	@scripts/with-podman -lock=test busybox,worker env WHARF_TEST_RUNTIME=podman $(triggers)
	@scripts/with-containerd -lock=test busybox $(benchmarks) ./driver/containerd
	@scripts/with-kubernetes -lock=test busybox,helper $(benchmarks) ./driver/kubernetes
	@scripts/with-containerd -lock=test busybox,worker env WHARF_TEST_RUNTIME=containerd $(triggers)
	@scripts/with-kubernetes -lock=test busybox,helper,worker env WHARF_TEST_RUNTIME=kubernetes $(triggers)

soak: ## the long tests: random interrupts and broken connections, repeated
	@scripts/setup test
	@scripts/with-docker -lock=test busybox env WHARF_SOAK=1 WHARF_TEST_INTERRUPTS=50 go test -count=1 -timeout 80m ./worker/... ./cmd/wharf/...
	@scripts/with-docker -lock=test busybox,worker env WHARF_SOAK=1 WHARF_TEST_RUNTIME=docker $(crowds)
	@scripts/with-podman -lock=test busybox,worker env WHARF_SOAK=1 WHARF_TEST_RUNTIME=podman $(crowds)
	@scripts/with-containerd -lock=test busybox,worker env WHARF_SOAK=1 WHARF_TEST_RUNTIME=containerd $(crowds)
	@scripts/with-kubernetes -lock=test busybox,helper,worker env WHARF_SOAK=1 WHARF_TEST_RUNTIME=kubernetes $(crowds)
	@scripts/with-docker -lock=test busybox,go,wharf scripts/with-podman busybox,go scripts/with-kubernetes busybox,go,helper env WHARF_TEST_KILLS=100 WHARF_TEST_LINES=10485760 go test -count=1 -timeout 150m -run 'TestReattach|TestFlood|TestWharfBuildsItself|TestGoProject' ./examples
	@scripts/with-docker -lock=test busybox env WHARF_TEST_FAULTS=20 go test -count=1 -timeout 60m -run UnderFaults ./driver/docker
	@scripts/with-podman -lock=test busybox env WHARF_TEST_FAULTS=20 go test -count=1 -timeout 60m -run UnderFaults ./driver/podman
	@scripts/with-containerd -lock=test "" env WHARF_TEST_FAULTS=20 go test -count=1 -timeout 60m -run 'UnderFaults|BreaksOff' ./driver/containerd
	@$(MAKE) --no-print-directory current kubernetes
	@scripts/with-kubernetes -lock=test helper env WHARF_TEST_FAULTS=20 go test -count=1 -timeout 120m -run UnderFaults ./driver/kubernetes

images: ## make the images of the tests and examples and load them into Docker
	@scripts/setup run
	@scripts/with-docker busybox,go,wharf true

build: ## bin/wharf
	go build -o bin/wharf ./cmd/wharf

image: ## bin/image/worker*.tar: the image that workers run in, Wharf and Git; IMAGE=NAME:TAG, ARCH=amd64,arm64
	@go build -o bin/ ./tools/images
	@bin/images -oci bin/image -update -arch $(or $(ARCH),amd64$(comma)arm64) $(if $(IMAGE),-tag '$(IMAGE)')

clean: ## remove what make has made, also in the user's cache directory
	rm -rf bin "$${XDG_CACHE_HOME:-$$HOME/.cache}/wharf-ci/images"
