# build.mk - how a folder becomes a library, and a test file a test. Included by the Makefile.

lib_of  = $(B)/lib$(subst /,_,$(1)).a
# The libraries of a folder and of everything below it, highest first, for the linker.
below   = $(call reverse,$(call upto,$(1),$(DIRS)))
upto    = $(if $(2),$(firstword $(2)) $(if $(filter $(1),$(firstword $(2))),,$(call upto,$(1),$(wordlist 2,999,$(2)))))
reverse = $(if $(1),$(call reverse,$(wordlist 2,999,$(1))) $(firstword $(1)))

# Generated C: SQL queries and migrations of a folder, embedded; each .c has its header beside it. A folder named
# migrations counts even while it is empty: the context must build before its first migration can be generated from it.
gen_of  = $(if $(wildcard $(1)/sql/queries.sql),$(B)/gen/$(notdir $(1))_queries.c) \
          $(if $(wildcard $(1)/migrations),$(B)/gen/$(notdir $(1))_migrations.c)
gens_below = $(foreach d,$(call below,$(1)),$(call gen_of,$(d)))

define folder_rules
$(call lib_of,$(1)): $(patsubst %.c,$(B)/obj/%.o,$(wildcard $(1)/*.c)) $(patsubst $(B)/gen/%.c,$(B)/obj/gen/%.o,$(call gen_of,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
# Generated headers, its own and those below, come first.
$(patsubst %.c,$(B)/obj/%.o,$(wildcard $(1)/*.c tests/unit/$(notdir $(1))/test_*.c)): | $(call gens_below,$(1))
$(if $(wildcard $(1)/sql/queries.sql),
$(B)/gen/$(notdir $(1))_queries.c $(B)/gen/$(notdir $(1))_queries.h &: $(1)/sql/queries.sql tools/embed-sql
	@mkdir -p $(B)/gen
	@tools/embed-sql $(1)/sql/queries.sql $(B)/gen/$(notdir $(1))_queries.c)
$(if $(wildcard $(1)/migrations),
$(B)/gen/$(notdir $(1))_migrations.c $(B)/gen/$(notdir $(1))_migrations.h &: $(1)/migrations $(wildcard $(1)/migrations/*) tools/embed-migrations
	@mkdir -p $(B)/gen
	@tools/embed-migrations $(1)/migrations $(B)/gen/$(notdir $(1))_migrations.c)
lib-$(notdir $(1)): $(call lib_of,$(1))
unit-$(notdir $(1)): $(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(notdir $(1))/test_*.c))
	@for t in $$^; do $(RUNNER) $$$$t || exit 1; done
$(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(notdir $(1))/test_*.c)): $(B)/%: $(B)/obj/%.o $(foreach d,$(call below,$(1)),$(call lib_of,$(d)))
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS) -o $$@ $$< $$(filter %.a,$$^) $(LDLIBS) -lcmocka
.PHONY: lib-$(notdir $(1)) unit-$(notdir $(1))
endef
$(foreach d,$(DIRS),$(eval $(call folder_rules,$(d))))

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/usher: $(foreach d,$(call reverse,$(DIRS)),$(call lib_of,$(d)))
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -o $@ -Wl,--whole-archive $(call lib_of,apps/usher) -Wl,--no-whole-archive $(filter-out $(call lib_of,apps/usher),$^) $(LDLIBS)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
