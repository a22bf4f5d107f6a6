# fuzz.mk - every fuzz/NAME.c is a libFuzzer target (clang-14, ASan, UBSan). Included by the Makefile.
#
# To add one: write fuzz/NAME.c with LLVMFuzzerTestOneInput and put seeds into fuzz/corpus/NAME/. The libraries it links are
# read off its #include lines. What a run finds goes to build-asan/corpus/NAME; an input that breaks it to build-asan/found/.

FUZZ_SECONDS ?= 3600
FUZZ_TOTAL   ?= 60
FUZZ_NAMES   := $(patsubst fuzz/%.c,%,$(wildcard fuzz/*.c))
FUZZ         ?= $(FUZZ_NAMES)

.PHONY: fuzz fuzz-short fuzz-run fuzz-build
fuzz: ## fuzz each target for FUZZ_SECONDS (3600), two at a time; FUZZ="name …" picks some
	@$(MAKE) --no-print-directory -j2 VARIANT=asan FUZZ_TIME="--seconds $(FUZZ_SECONDS)" fuzz-run
fuzz-short: ## every seed through its target, then all of them for FUZZ_TOTAL seconds (60) together
	@$(MAKE) --no-print-directory -j2 VARIANT=asan FUZZ_TIME="--total $(FUZZ_TOTAL)" fuzz-run

ifeq ($(VARIANT),asan)
fuzz_headers = $(shell sed -nE 's|^\#include "([a-z_]+\.h)".*|fuzz/\1|p' fuzz/$(1).c)
fuzz_folders = $(shell sed -nE 's|^\#include "([a-z_]+)/.*|\1|p' fuzz/$(1).c $(call fuzz_headers,$(1)))
fuzz_needs   = $(sort $(foreach f,$(call fuzz_folders,$(1)),$(call below,$(filter lib/$(f) apps/$(f),$(DIRS)))))
fuzz_libs    = $(foreach d,$(filter $(call fuzz_needs,$(1)),$(call reverse,$(DIRS))),$(call lib_of,$(d)))

define fuzz_rules
$(B)/obj/fuzz/$(1).o: | $(foreach d,$(call fuzz_needs,$(1)),$(call gen_of,$(d)))
$(B)/fuzz/$(1): $(B)/obj/fuzz/$(1).o $(call fuzz_libs,$(1))
	@mkdir -p $$(@D)
	@echo "  LD $$@"
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LDLIBS)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_rules,$(n))))

fuzz-build: $(patsubst %,$(B)/fuzz/%,$(FUZZ))
fuzz-run: fuzz-build
	@tools/run-fuzz --build $(B) $(FUZZ_TIME) $(FUZZ)
endif
