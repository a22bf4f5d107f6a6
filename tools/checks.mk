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
	@tools/check-tidy $(TIDY) -- $(CPPFLAGS) -std=gnu17 -D_GNU_SOURCE

.PHONY: coverage
coverage: ## line coverage by the unit tests and the command line tests; report in build-cov/coverage.txt
	@$(MAKE) --no-print-directory -j2 all unit-build VARIANT=cov
	@find build-cov -name '*.gcda' -delete
	@tools/with-postgres $(MAKE) --no-print-directory unit VARIANT=cov >build-cov/unit.log 2>&1 || { tail -40 build-cov/unit.log; exit 1; }
	@USHER=build-cov/usher /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/blackbox/test_cli.py tests/blackbox/test_races.py >build-cov/blackbox.log 2>&1 || { tail -40 build-cov/blackbox.log; exit 1; }
	@gcovr -r . --object-directory build-cov -f 'lib/' -f 'apps/' --exclude-unreachable-branches --gcov-ignore-parse-errors \
	    --txt build-cov/coverage.txt --print-summary
