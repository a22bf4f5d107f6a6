# checks.mk - the checkers. Included by the Makefile. Each tells file:line and what to do; tests/tools tests them.

FORMATTED = $(shell find lib apps tests fuzz bench -name '*.[ch]' 2>/dev/null)
# Headers that C needs and SQL gives must exist before anything compiles on its own.
GENERATED = $(foreach d,$(DIRS),$(call gen_of,$(d)))

.PHONY: check check-layers check-co check-style check-format tidy format
check: check-layers check-co check-style check-format ## layers, suspension marks, style and formatting

check-layers:
	@tools/check-layers
check-co:
	@tools/check-co
check-style: $(GENERATED)
	@CC="$(CC)" tools/check-style
check-format:
	@clang-format --dry-run -Werror $(FORMATTED)

format: ## wrap comments and format the code
	@tools/wrap-comments $(FORMATTED)
	@clang-format -i $(FORMATTED)

tidy: $(GENERATED) ## clang-tidy (TIDY="file …" picks some)
	@tools/check-tidy --build $(B) $(TIDY) -- $(CPPFLAGS) -std=gnu17 -D_GNU_SOURCE
