# fuzz.mk - every fuzz/NAME.c is a libFuzzer target (clang-14, ASan, UBSan). Included by the Makefile.
#
# To add one: write fuzz/NAME.c with LLVMFuzzerTestOneInput and put seeds into fuzz/corpus/NAME/. The libraries it links are
# read off its #include lines. What a run finds goes to build-fuzz/corpus/NAME; an input that breaks it to build-fuzz/found/.

FUZZ_SECONDS ?= 3600
FUZZ_NAMES   := $(patsubst fuzz/%.c,%,$(wildcard fuzz/*.c))
FUZZ         ?= $(FUZZ_NAMES)

.PHONY: fuzz fuzz-short fuzz-run fuzz-build
fuzz: ## fuzz each target for FUZZ_SECONDS (3600); FUZZ="name …" picks some
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-run
fuzz-short: ## fuzz each target for 5 seconds
	@$(MAKE) --no-print-directory VARIANT=fuzz FUZZ_SECONDS=5 fuzz-run

ifeq ($(VARIANT),fuzz)
fuzz_folders = $(shell sed -nE 's|^\#include "([a-z_]+)/.*|\1|p' fuzz/$(1).c)
fuzz_needs   = $(sort $(foreach f,$(call fuzz_folders,$(1)),$(call below,$(filter lib/$(f) apps/$(f),$(DIRS)))))
fuzz_libs    = $(foreach d,$(filter $(call fuzz_needs,$(1)),$(call reverse,$(DIRS))),$(call lib_of,$(d)))

define fuzz_rules
$(B)/fuzz/$(1): $(B)/obj/fuzz/$(1).o $(call fuzz_libs,$(1))
	@mkdir -p $$(@D)
	@echo "  LD $$@"
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LDLIBS)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_rules,$(n))))

fuzz-build: $(patsubst %,$(B)/fuzz/%,$(FUZZ))
fuzz-run: fuzz-build
	@for t in $(FUZZ); do \
	    mkdir -p $(B)/corpus/$$t $(B)/found fuzz/corpus/$$t; \
	    $(B)/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=8192 -verbosity=0 \
	        -print_final_stats=1 -artifact_prefix=$(B)/found/$$t- $(B)/corpus/$$t fuzz/corpus/$$t >$(B)/found/$$t.log 2>&1 \
	        || { cat $(B)/found/$$t.log; echo "fuzz $$t: FAILED, the input is in $(B)/found"; exit 1; }; \
	    echo "fuzz $$t: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(B)/found/$$t.log) inputs, nothing found"; \
	done
endif
