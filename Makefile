# make help tells what there is.

NGINX_VERSION ?= 1.18.0
DEBUG ?= 1
GLIBC ?=
DEBIAN ?= bullseye bookworm
CARGO ?= cargo
# Without the job slots of make, which cargo is not handed.
RUN_CARGO := env -u MAKEFLAGS $(CARGO)

VERSIONS := $(shell awk '$$1 == "nginx" { print $$2 }' scripts/sources.txt)

# A little of everything, in seconds.
SMOKE := harness resolve identity variables cache groups process

ifdef NGINX_SOURCE_DIR
# A configured tree of the user's own, perhaps built.
SOURCE := $(abspath $(NGINX_SOURCE_DIR))
override NGINX_VERSION := $(shell sed -n 's/^\#define NGINX_VERSION *"\(.*\)"/\1/p' $(SOURCE)/src/core/nginx.h)
ifeq ($(NGINX_VERSION),)
$(error NGINX_SOURCE_DIR=$(NGINX_SOURCE_DIR) is no nginx source tree)
endif
OUT := $(CURDIR)/build/nginx-$(NGINX_VERSION)
NGINX := $(SOURCE)/objs/nginx
else
OUT := $(CURDIR)/build/nginx-$(NGINX_VERSION)$(if $(filter 0,$(DEBUG)),-nodebug)
SOURCE := $(OUT)/src
NGINX := $(OUT)/sbin/nginx
endif

# The last file that nginx's configure writes.
CONFIGURED := $(SOURCE)/objs/Makefile
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
DOUBLE := $(TARGET)/debug/authgear-resolver-double
MODULE := $(OUT)/$(if $(GLIBC),glibc-$(GLIBC)/)ngx_http_authgear_module.so

.DELETE_ON_ERROR:
.PHONY: deny msrv soak bench faults leaks fuzz asan test-static valgrind help deps nginx module test test-unit test-nginx test-smoke test-newest test-between test-all test-debian test-clients image test-image dist test-dist lint demo clean

help:
	@echo 'make deps        install what is missing here (Debian 12 or later, as root)'
	@echo 'make nginx       build nginx: build/nginx-VERSION/sbin/nginx'
	@echo 'make module      build the module: build/nginx-VERSION/ngx_http_authgear_module.so'
	@echo 'make demo        build all and show what the app behind nginx sees; KEEP=1 leaves it running'
	@echo 'make test        all tests on one nginx: test-unit and test-nginx'
	@echo 'make test-smoke  a few integration tests on one nginx'
	@echo 'make test-newest integration tests on the newest nginx; make test-between: a few on those before it'
	@echo 'make test-all    all tests on every nginx'
	@echo 'make test-debian integration tests on the nginx packages of Debian'
	@echo 'make test-clients a real browser and a real gRPC client'
	@echo 'make image       the official image with the module: nginx-authgear:VERSION; see docker/README.md'
	@echo 'make test-image  build images, run the compose file and the Kubernetes example, look at them from outside'
	@echo 'make dist        the module for every nginx, and packages for those of Debian, in dist/'
	@echo 'make test-dist   install those packages, and remove them'
	@echo 'make lint        format, clippy, shellcheck, and that the tests are there which SECURITY.md names'
	@echo 'make deny        licences and origin of the dependencies, and advisories where their list can be had'
	@echo 'make msrv        build with the oldest Rust that will do, and run the unit tests'
	@echo 'make bench       what authenticating costs, beside auth_request (QUICK=1: in minutes)'
	@echo 'make test-crash  workers killed at each write of the cache'
	@echo 'make soak        sessions, webhooks, log-outs, reloads, restarts at once; REQUESTS=$(or $(REQUESTS),5000000)'
	@echo 'make fuzz        fuzz what reads input; make asan, make valgrind: the suite with memory checked'
	@echo 'make faults      each allocation failed in turn, on an nginx whose pools have a block for each; in minutes'
	@echo 'make leaks       100,000 requests of all kinds and 100 reloads: memory and descriptors stay as they are'
	@echo 'make test-static linked into nginx by --add-module'
	@echo 'make clean       remove what was built, but not what was downloaded'
	@echo
	@echo 'NGINX_VERSION=$(NGINX_VERSION)     or $(filter-out $(NGINX_VERSION),$(VERSIONS))'
	@echo 'NGINX_SOURCE_DIR=DIR     instead: a source tree of your own, configured, and built if it is to be tested'
	@echo 'GLIBC=2.28               for module: the oldest glibc it is to run on; goes to glibc-2.28/ in that directory'
	@echo 'OUT=DIR                  for module: another directory than build/nginx-VERSION/'
	@echo 'DEBUG=0                  nginx without --with-debug, for benchmarks; in build/nginx-VERSION-nodebug/'
	@echo 'DEBIAN="$(DEBIAN)"  for test-debian and dist: the releases'
	@echo 'TESTS="resolve cache"    for test, test-nginx and test-debian: these integration tests only'

deps:
	@scripts/deps.sh

nginx: $(NGINX)

module: $(CONFIGURED)
	scripts/module.sh $(SOURCE) $(OUT) $(MODULE) $(GLIBC)

ifdef NGINX_SOURCE_DIR
$(CONFIGURED):
	$(error $(SOURCE) is not configured: run ./configure there, --with-compat if your nginx has it)
$(NGINX):
	$(error $(NGINX) is missing: run make in $(SOURCE) first)
else
$(CONFIGURED): scripts/nginx.sh
	DEBUG=$(DEBUG) scripts/nginx.sh configure $(NGINX_VERSION) $(OUT)
$(NGINX): $(CONFIGURED)
	scripts/nginx.sh build $(OUT)
endif

test: deps
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-nginx

# Every crate that needs no nginx, and the fuzz targets, in short and without a fuzzer.
test-unit:
	$(RUN_CARGO) test --no-fail-fast --workspace --exclude nginx-authgear --exclude authgear-integration
	CARGO_TARGET_DIR=$(TARGET) $(RUN_CARGO) test --no-fail-fast --manifest-path fuzz/Cargo.toml

test-nginx: nginx module
	AUTHGEAR_NGINX=$(NGINX) AUTHGEAR_MODULE=$(MODULE) $(RUN_CARGO) test --no-fail-fast -p authgear-integration \
		$(addprefix --test=,$(TESTS))

test-smoke:
	@$(MAKE) --no-print-directory test-nginx TESTS='$(SMOKE)'

# Of those whose source can be had here, as for test-all.
test-newest: deps
	@version=$$(scripts/available.sh | tail -n 1) && echo "== nginx $$version" && \
	$(MAKE) --no-print-directory test-nginx NGINX_VERSION=$$version

# The oldest is that of make test.
test-between: deps
	@for version in $$(scripts/available.sh | sed '1d; $$d'); do \
		echo "== nginx $$version"; \
		$(MAKE) --no-print-directory test-smoke NGINX_VERSION=$$version || exit 1; \
	done

# A version whose source cannot be had here is named at the end, and is no failure.
test-all: deps
	@$(MAKE) --no-print-directory test-unit
	@mkdir -p build; versions=$$(scripts/available.sh 2>build/unavailable) || { cat build/unavailable >&2; exit 1; }; \
	for version in $$versions; do \
		echo "== nginx $$version"; \
		$(MAKE) --no-print-directory test-nginx NGINX_VERSION=$$version || exit 1; \
	done; \
	cat build/unavailable

test-debian:
	@for suite in $(DEBIAN); do scripts/test-debian-nginx.sh $$suite $(TESTS) || exit 1; done

# Chromium and gRPC's own client; what this machine lacks of them is said, and is no failure.
test-clients: nginx module
	$(RUN_CARGO) build -p authgear-resolver-double
	tests/browser/login.py $(NGINX) $(MODULE) $(DOUBLE)
	tests/grpc/run.sh $(NGINX) $(MODULE) $(DOUBLE)
	tests/http3/run.sh $(NGINX) $(MODULE) $(DOUBLE)

image:
	docker build -f docker/Dockerfile --build-arg NGINX_VERSION=$(NGINX_VERSION) \
		-t nginx-authgear:$(NGINX_VERSION) -t nginx-authgear:$(basename $(NGINX_VERSION)) .

test-image:
	docker/test.sh
	docker/test-kubernetes.sh

dist:
	DEBIAN='$(DEBIAN)' packaging/dist.sh

test-dist:
	packaging/test.sh

NODEBUG := $(CURDIR)/build/nginx-$(NGINX_VERSION)-nodebug

# On an nginx without --with-debug; QUICK=1 takes minutes, BENCH= holds more of bench.py's options.
bench:
	@$(MAKE) --no-print-directory nginx module DEBUG=0
	$(RUN_CARGO) build --release -p authgear-resolver-double
	python3 -B bench/bench.py --nginx $(NODEBUG)/sbin/nginx \
		--module $(NODEBUG)/ngx_http_authgear_module.so \
		--doubles $(TARGET)/release $(if $(QUICK),--quick) $(BENCH)

# Workers killed at each write inside the cache's critical section, by a module that can be told where to die.
test-crash: nginx
	NGINX_SOURCE_DIR=$(SOURCE) $(RUN_CARGO) build -p nginx-authgear --features kill-points
	AUTHGEAR_NGINX=$(NGINX) AUTHGEAR_MODULE=$(TARGET)/debug/libngx_http_authgear_module.so \
		$(RUN_CARGO) test -p authgear-integration --test cache_crash -- --ignored

# Everything that happens in production at once, REQUESTS long, each answer judged; REPORT says where the report goes.
soak:
	@$(MAKE) --no-print-directory nginx module DEBUG=0
	AUTHGEAR_NGINX=$(NODEBUG)/sbin/nginx \
		AUTHGEAR_MODULE=$(NODEBUG)/ngx_http_authgear_module.so \
		AUTHGEAR_SOAK_REQUESTS=$(REQUESTS) AUTHGEAR_SOAK_REPORT=$(abspath $(or $(REPORT),build/soak.md)) \
		$(RUN_CARGO) test --release -p authgear-integration --test soak -- --ignored --nocapture the_soak

# SECONDS= for each target
fuzz:
	scripts/fuzz.sh $(SECONDS)

asan:
	scripts/asan.sh

# Needs no module of its own: what NGX_DEBUG_PALLOC changes is in nginx.
FAULTS := $(CURDIR)/build/faults-$(NGINX_VERSION)
faults: module
	test -x $(FAULTS)/sbin/nginx || { CC="cc -DNGX_DEBUG_PALLOC=1" scripts/nginx.sh configure $(NGINX_VERSION) $(FAULTS) \
		&& scripts/nginx.sh build $(FAULTS); }
	AUTHGEAR_INJECTION=all AUTHGEAR_NGINX=$(FAULTS)/sbin/nginx AUTHGEAR_MODULE=$(MODULE) $(RUN_CARGO) test \
		-p authgear-integration --test injection -- --nocapture --test-threads 2

# Ordinarily 3,000 requests and 6 reloads.
leaks: nginx module
	AUTHGEAR_LEAKS=all AUTHGEAR_NGINX=$(NGINX) AUTHGEAR_MODULE=$(MODULE) $(RUN_CARGO) test \
		-p authgear-integration --test leaks -- --nocapture

test-static:
	scripts/test-static.sh $(NGINX_VERSION) $(SMOKE)

# The integration suite under memcheck.
valgrind: nginx module
	AUTHGEAR_VALGRIND=1 AUTHGEAR_NGINX=$(NGINX) AUTHGEAR_MODULE=$(MODULE) $(RUN_CARGO) test --no-fail-fast \
		-p authgear-integration

lint: deps $(CONFIGURED)
	$(RUN_CARGO) fmt --all --check
	$(RUN_CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	NGINX_SOURCE_DIR=$(SOURCE) $(RUN_CARGO) clippy --workspace --all-targets -- -D warnings
	CARGO_TARGET_DIR=$(TARGET) $(RUN_CARGO) clippy --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings
	scripts/promises.py
	shellcheck .ci/run $(wildcard scripts/*.sh docker/*.sh packaging/*.sh tests/*/*.sh)

# Needs cargo-deny: cargo install cargo-deny.
deny:
	$(RUN_CARGO) deny --workspace check licenses bans sources
	@if timeout 60 $(RUN_CARGO) deny fetch db >/dev/null 2>&1; then \
		$(RUN_CARGO) deny --workspace check advisories; \
	else \
		echo 'deny: advisories are not checked: their list cannot be had here'; \
	fi

msrv: deps $(CONFIGURED)
	scripts/msrv.sh $(SOURCE)

demo: deps
	@$(MAKE) --no-print-directory nginx module
	$(RUN_CARGO) build -p authgear-resolver-double
	@KEEP=$(KEEP) scripts/demo.sh $(NGINX) $(MODULE) $(DOUBLE)

clean:
	rm -rf build/nginx-* build/debian build/msrv build/demo build/docker dist
	$(RUN_CARGO) clean
