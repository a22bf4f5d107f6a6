# usher - `make help` lists the targets.
#
# One static library per folder, linked in one order (below): a lower layer that reached up would not link.
# VARIANT: release (default) | asan | valgrind | cov | clang. Each builds into its own folder. asan is clang's, with what libFuzzer
# needs, so that tests and fuzz targets share one build.

VARIANT ?= release
CC      := gcc
ifeq ($(VARIANT),release)
B       := build
else
B       := build-$(VARIANT)
endif

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
# docs/adr/0011-operations.md says what each is for; tools/check-hardening sees that none is lost.
FORTIFY  := -D_FORTIFY_SOURCE=3
CFLAGS   := -std=gnu17 $(WARN) -O2 -g -fno-omit-frame-pointer -fno-strict-aliasing -D_GNU_SOURCE $(FORTIFY) \
            -fstack-protector-strong -fstack-clash-protection -fcf-protection=branch -fPIE
LDFLAGS  := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code
ifeq ($(VARIANT),asan)
CC       := clang-14
CFLAGS   := $(filter-out $(FORTIFY) -O2 -fstack-clash-protection,$(CFLAGS)) -O1 -fno-sanitize-recover=all \
            -fsanitize=fuzzer-no-link,address,undefined -DUSHER_ASAN
LDFLAGS  += -fsanitize=address,undefined
else ifeq ($(VARIANT),valgrind)
CFLAGS   := $(filter-out -O2,$(CFLAGS)) -O1 -DUSHER_VALGRIND
else ifeq ($(VARIANT),cov)
CFLAGS   := $(filter-out -O2 $(FORTIFY),$(CFLAGS)) -O0 --coverage
LDFLAGS  += --coverage
else ifeq ($(VARIANT),clang)
CC       := clang-14
CFLAGS   := $(filter-out -fstack-clash-protection,$(CFLAGS))
endif
# No path of the machine goes into the debug information: two checkouts build the same bytes, and share what ccache keeps.
CFLAGS   += -fdebug-prefix-map=$(CURDIR)=.
ifneq ($(shell command -v ccache),)
CC       := ccache $(CC)
export CCACHE_BASEDIR := $(CURDIR)
endif

PG_INCLUDE := $(shell pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)
VERSION  := 0.1.0
CPPFLAGS := -DUSHER_VERSION='"$(VERSION)"' -Ilib -Iapps -I$(B)/gen -I$(PG_INCLUDE)
LDLIBS   := -lpq -luv -lssl -lcrypto -lnghttp2 -l:libboost_context.a -lseccomp -lpthread -lm

# Lowest layer first. A folder may use those before it (tools/check-layers holds the exact rows).
LAYERS := lib/base lib/runtime lib/json lib/tls lib/http lib/amqp lib/pg lib/telemetry lib/resource lib/bus lib/jobs lib/api \
          apps/legacy apps/messaging apps/upkeep apps/core_events apps/core_users apps/core_tickets apps/api_gateway apps/usher
DIRS   := $(foreach d,$(LAYERS),$(if $(wildcard $(d)/*.c),$(d)))

include tools/build.mk

.DEFAULT_GOAL := all
.PHONY: all help run test unit clean
all: $(B)/usher ## build build/usher

help: ## list the targets
	@grep -hE '^[a-z][a-z_-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## */\1\t/' | expand -t 16

clean: ## remove what was built
	rm -rf build build-*

DATA   ?= var
LISTEN ?= 127.0.0.1:5000

packages: ## install what building and running needs (deploy/packages.txt)
	@tools/install-packages --only build,run

run: packages ## install, build, start a private Postgres under var/, migrate, seed and serve on 127.0.0.1:5000
	@$(MAKE) --no-print-directory all
	@exec $(B)/usher dev --listen $(LISTEN) --data $(DATA)

UNIT_TESTS = $(foreach d,$(DIRS),$(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(notdir $(d))/test_*.c)))
unit-build: $(UNIT_TESTS)
# UNIT_HALF=0 and UNIT_HALF=1 are every other one: two makes, each with servers of its own, may run them side by side.
UNIT_RUN = $(if $(UNIT_HALF),$(shell echo $(UNIT_TESTS) | tr ' ' '\n' | awk 'NR % 2 == $(UNIT_HALF)'),$(UNIT_TESTS))
# One after another, also under -j: they share one Postgres, and some kill its backends.
unit: $(UNIT_RUN) ## unit tests of every folder (tools/with-postgres make unit)
	@failed=; for t in $^; do $(RUNNER) $$t || failed="$$failed $$t"; done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

test: ## every test: checks, unit, black-box, replay, sanitizers, valgrind, fuzzing; ends with `N passed, N failed`
	@tools/install-packages
	@tools/run-tests

chaos: all ## the whole chain and jobs, over either transport, under 300 random kills each, and the books (CHAOS="--seed N …")
	@tests/chaos/chaos.py $(CHAOS)

-include tools/checks.mk tools/fuzz.mk
.PHONY: packages unit-build chaos

docs: $(B)/usher ## renew what is made from tables: man page, completion, quirks, JSON:API, schemas, exceptions
	@$(B)/usher help --man > docs/usher.1
	@$(B)/usher help --completion > deploy/usher.bash-completion
	@tools/gen-quirks-doc
	@tools/gen-json-api-doc
	@$(B)/usher schema
	@tools/gen-exceptions-doc
.PHONY: docs

bench: packages ## every case beside its peers, in turns; writes bench/results and docs/performance.md
	@bench/run $(BENCH)
.PHONY: bench
