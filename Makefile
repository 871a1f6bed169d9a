# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# One makefile, out of tree: build/std, build/address,undefined, ... so that variants never mix.
# `make help` lists the targets; V=1 shows the commands.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
WERROR  ?= $(if $(CI),-Werror)

CC     := gcc
CLANG  := clang
OUT    := build/$(if $(SAN),$(SAN),std)

PKGS       := libbpf libuv msgpack sqlite3 libsodium inih jansson libmnl
PKGS_LOADED := libcurl # by the program when it needs it: edge/check/curl_lib.h
# Debian 12 calls it msgpack, later releases msgpack-c.
PKGS       := $(if $(shell pkg-config --exists msgpack 2>/dev/null && echo y),$(PKGS),$(PKGS:msgpack=msgpack-c))
PKG_CFLAGS  = $(shell pkg-config --cflags $(PKGS) $(PKGS_LOADED) 2>/dev/null)
PKG_LIBS    = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lelf -lz -lresolv

WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion $(WERROR)
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(CFLAGS) $(WARN) -D_GNU_SOURCE -DEDGE_VERSION='"$(VERSION)"' -iquote . -iquote $(OUT) \
             $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(PKG_CFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(if $(SAN),-fsanitize=$(SAN))
ARCH_INC := /usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)
BPF_CFLAGS := -O2 -g -Wall -Werror -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -iquote . -I$(ARCH_INC)

Q := $(if $(V),,@)
, := ,
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

LIB_SRC  := $(filter-out cmd/edged.c cmd/edgefwd.c,$(sort $(wildcard gossip/*.c store/*.c edge/*.c edge/check/*.c cmd/*.c)))
LIB_OBJ  := $(LIB_SRC:%.c=$(OUT)/%.o)
CTL_OBJ  := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard cmd/edgectl/*.c)))
BPF_SRC  := $(sort $(wildcard bpf/*.bpf.c))
BPF_SKEL := $(BPF_SRC:bpf/%.bpf.c=$(OUT)/bpf/%.skel.h)
PROGS    := $(foreach p,edged edgefwd,$(if $(wildcard cmd/$(p).c),$(OUT)/$(p))) \
            $(if $(wildcard cmd/edgectl/main.c),$(OUT)/edgectl)
# The lab's QUIC server needs a library that nothing else does; without it tests/net/test_quic.sh skips.
QUIC_PKGS := libngtcp2 libngtcp2_crypto_gnutls gnutls
TOOLS    := $(patsubst tests/lab/%.c,$(OUT)/lab/%,$(filter-out $(if $(shell pkg-config --exists $(QUIC_PKGS) 2>/dev/null && echo y),,tests/lab/quicecho.c),$(sort $(wildcard tests/lab/*.c))))

# edged with records that crash it: tests/net/test_poison.sh.
TOOLS    += $(OUT)/lab/edged-poison
# A black box through the core again: tests/sim/replay.c.
TOOLS    += $(OUT)/lab/replay

# Both daemons of the next ABI, for tests/net/test_upgrade.sh: all that says a number, compiled with another one.
NEXT_ABI := $(shell expr 1 + $$(awk '$$2 == "DP_ABI_VERSION" { print $$3 }' bpf/dp_abi.h))
NEXT_OBJ := $(addprefix $(OUT)/next/,$(addsuffix .o,edge/dp edge/dp_pin edge/fwd edge/agent_maps edge/keeper edge/keeper_sock edge/keeper_host))
TOOLS    += $(OUT)/lab/next/edged $(OUT)/lab/next/edgefwd
# edged that speaks other versions of the protocol, lowest and highest, for tests/net/test_versions.sh.
TOOLS    += $(OUT)/lab/speaks-1-2/edged $(OUT)/lab/speaks-2-3/edged

TEST_LIB := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard tests/lib/*.c)))
MODEL    := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard tests/model/*.c)))
SIM_LIB  := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard tests/sim/sim_*.c)))
UNIT     := $(patsubst tests/%.c,$(OUT)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
SIM      := $(patsubst tests/%.c,$(OUT)/tests/%,$(sort $(wildcard tests/sim/test_*.c)))
BPFT     := $(patsubst tests/%.c,$(OUT)/tests/%,$(sort $(wildcard tests/bpf/test_*.c)))
FUZZ     := $(patsubst tests/%.c,$(OUT)/tests/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
NET      := $(sort $(wildcard tests/net/test_*.sh))
REQUIRE  ?= bpf,net

RUN := tests/lib/run.sh

.PHONY: all build demo test check check-unit check-sim check-bpf check-net check-layers check-headers check-asan \
        fuzz fuzz-replay asan deps install clean help lint format docs \
        bpf cmd edge gossip store tests packaging bpf-stats model sim sim-false sim-regions sim-region-nemesis \
        bench bench-gossip bench-failover

all: ## build the three programs and the BPF objects
all: $(PROGS) $(TOOLS)

demo: ## bring up a three-region mesh on this machine and show a failover (ARGS=--once: end by itself)
demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)OUT=$(OUT) tests/lab/demo.sh $(ARGS)

test: ## install what is missing, build, run everything; what CI runs
test: deps
	$(Q)$(MAKE) --no-print-directory lint check REQUIRE=bpf,net

check: ## all tests; the last line is "N passed, N failed, N skipped"
check: all $(UNIT) $(SIM) $(BPFT) $(FUZZ) asan-build
	$(Q)REQUIRE=$(REQUIRE) OUT=$(OUT) $(RUN) check-layers=tests/lib/check_layers.sh check-headers=tests/lib/check_headers.sh \
		$(UNIT) $(SIM) $(foreach f,$(FUZZ),fuzz=$(f)) $(BPFT) $(ASAN_TESTS) $(NET)

check-unit: ## unit tests only (T=name runs one case)
check-unit: all $(UNIT)
	$(Q)OUT=$(OUT) $(RUN) $(UNIT)
check-sim: ## simulator tests only
check-sim: $(SIM)
	$(Q)OUT=$(OUT) $(RUN) $(SIM)
check-bpf: ## BPF programs through BPF_PROG_TEST_RUN
check-bpf: $(BPFT)
	$(Q)REQUIRE=$(REQUIRE) OUT=$(OUT) $(RUN) $(BPFT)
check-net: ## end to end in network namespaces (NET=tests/net/test_x.sh runs one)
check-net: all
	$(Q)REQUIRE=$(REQUIRE) OUT=$(OUT) $(RUN) $(NET)
check-layers: ## nothing pure calls a clock, a socket, a log ...
check-layers: $(LIB_OBJ)
	$(Q)OUT=$(OUT) tests/lib/check_layers.sh
check-headers: ## every header compiles alone; dp_abi.h without hidden padding, for both targets
	$(Q)OUT=$(OUT) tests/lib/check_headers.sh
fuzz-replay: ## seeds of every decoder through the fuzz targets
fuzz-replay: $(FUZZ)
	$(Q)OUT=$(OUT) $(RUN) $(foreach f,$(FUZZ),fuzz=$(f))

# New inputs that find something new are kept in build/fuzz/NAME, what fails in build/fuzz.
FUZZ_S  ?= 60
FUZZ_OF := $(patsubst $(OUT)/tests/fuzz/fuzz_%,%,$(FUZZ))
fuzz: ## libFuzzer on each decoder for FUZZ_S seconds (60; F=name: one)
	$(Q)$(MAKE) --no-print-directory CC=$(CLANG) SAN=fuzzer-no-link,address,undefined CFLAGS="-O1 -g -w" fuzz-run
.PHONY: fuzz-run
fuzz-run: $(addprefix $(OUT)/fuzz/,$(or $(F),$(FUZZ_OF)))
	$(Q)for f in $(or $(F),$(FUZZ_OF)); do \
		mkdir -p build/fuzz/$$f; \
		$(OUT)/fuzz/$$f -max_total_time=$(FUZZ_S) -artifact_prefix=build/fuzz/$$f- -print_final_stats=1 \
			build/fuzz/$$f tests/fuzz/fuzz_$$f.in >build/fuzz/$$f.log 2>&1 || \
			{ tail -60 build/fuzz/$$f.log; echo "not ok fuzz $$f"; exit 1; }; \
		echo "ok     fuzz $$f: $$(awk '/number_of_executed_units/ { print $$2 }' build/fuzz/$$f.log) inputs"; \
	done

# The decoders, the core and the shells again under ASan and UBSan.
ASAN_OUT   := build/address,undefined
ASAN_TESTS := $(if $(SAN),,$(patsubst $(OUT)/%,$(ASAN_OUT)/%,$(UNIT) $(SIM)))
.PHONY: asan-build
asan-build:
ifeq ($(SAN),)
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined CFLAGS="-O1 -g" asan-tests
endif
.PHONY: asan-tests
asan-tests: $(UNIT) $(SIM)
asan: ## unit and simulator tests under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined CFLAGS="-O1 -g" check-unit check-sim

deps: ## install what is missing (apt, as root)
	$(Q)packaging/deps.sh

lint: ## formatting of what is tracked, static checks
	$(Q)tests/lib/lint.sh

format: ## let clang-format decide
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

bench: ## nanoseconds per packet, live packets, the mesh: ratios to peers in one run (B=prog runs one part)
bench: all
	$(Q)$(MAKE) --no-print-directory bench-build
	$(Q)OUT=$(OUT) tests/bench/run.sh $(B)

bench-gossip: ## gossip: 50 daemons on loopback beside serf, then simulated meshes (B=real, sim or curve: one part)
bench-gossip: all
	$(Q)$(MAKE) --no-print-directory bench-gossip-build
	$(Q)OUT=$(OUT) tests/bench/gossip.sh $(B)

bench-failover: ## failures in the lab, and how fast routes follow (B=kill: one row, EVENTS=n of each, 30)
bench-failover: all
	$(Q)$(MAKE) --no-print-directory bench-failover-build
	$(Q)OUT=$(OUT) tests/bench/failover/run.sh $(B)

SEEDS ?= 1000
model: ## programs against the reference model: SEEDS worlds, a thousand frames each (SEED=n: the first; else by the clock)
model: $(OUT)/tests/bpf/test_model
	$(Q)SEEDS=$(SEEDS) SEED=$(or $(SEED),$$(date +%s)) $(OUT)/tests/bpf/test_model

# From FIRST on (1); the nemesis goes on after a failure and names every seed that failed.
sim: ## the long simulation: SEEDS seeds from FIRST on, nemesis and anti-entropy
sim: $(OUT)/tests/sim/test_nemesis $(OUT)/tests/sim/test_records
	$(Q)SEEDS=$(SEEDS) FIRST=$(or $(FIRST),1) $(OUT)/tests/sim/test_nemesis
	$(Q)SEEDS=$(SEEDS) FIRST=$(or $(FIRST),1) $(OUT)/tests/sim/test_records

sim-region-nemesis: ## the same mayhem between regions that know summaries of each other: SEEDS seeds from FIRST on
sim-region-nemesis: $(OUT)/tests/sim/test_region_nemesis
	$(Q)SEEDS=$(SEEDS) FIRST=$(or $(FIRST),1) $(OUT)/tests/sim/test_region_nemesis

NODE_HOURS ?= 24
sim-false: ## how often the simulator takes a healthy node for dead: NODE_HOURS each, at several losses, with slow nodes (ROW=10: 1 % loss, regions)
sim-false: $(OUT)/tests/sim/test_false
	$(Q)$(if $(ROW),ROW=$(ROW)) NODE_HOURS=$(NODE_HOURS) $(OUT)/tests/sim/test_false

N ?= 1000
CHANGES ?= 20
LOSS ?= 1
SLOW ?= 0
sim-regions: ## N nodes in 20 regions with summaries between them, simulated, LOSS % lost, SLOW % slow: how long CHANGES take, what they cost
sim-regions: $(OUT)/tests/bench/region_sim
	$(Q)$(OUT)/tests/bench/region_sim $(N) $(CHANGES) $(LOSS) $(SLOW)

bpf-stats: ## instructions and verifier effort of each program
bpf-stats: $(BPF_SKEL)
	$(Q)OUT=$(OUT) tests/bpf/stats.sh

install: ## install into DESTDIR and PREFIX
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/doc/edge $(DESTDIR)$(PREFIX)/lib/systemd/system \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(OUT)/edged $(OUT)/edgefwd $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(OUT)/edgectl $(DESTDIR)$(PREFIX)/bin
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 README.md CHANGELOG.md LICENSE packaging/edge.conf.example $(DESTDIR)$(PREFIX)/share/doc/edge
	install -m 644 packaging/edgectl.bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/edgectl
	for u in packaging/*.service; do sed 's,@PREFIX@,$(PREFIX),g' $$u > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$u); done

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(OUT)/%.o: %.c Makefile
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# The schema is embedded, not compiled.
$(OUT)/store/migrate.o: $(wildcard store/schema/*.sql)

$(OUT)/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
$(OUT)/bpf/%.skel.h: $(OUT)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)bpftool gen skeleton $< name $* > $@
$(LIB_OBJ) $(TEST_LIB): | $(BPF_SKEL)
# The same programs in the benchmark's wrappers.
$(OUT)/tests/bench/%.bpf.o: tests/bench/%.bpf.c Makefile
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
$(OUT)/tests/bench/%.skel.h: $(OUT)/tests/bench/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)bpftool gen skeleton $< name $* > $@
BENCH := $(addprefix $(OUT)/tests/bench/,bench_prog bench_live udprtt)
# edged with a stamp on what gossip tells it.
GOSSIP_HOOKS := agent_event gossip_core_join gossip_loop_open
$(OUT)/tests/bench/edged: $(OUT)/cmd/edged.o $(OUT)/tests/bench/gossip_hook.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK) $(addprefix -Wl$(,)--wrap=,$(GOSSIP_HOOKS))
$(OUT)/tests/bench/gossip_bench: $(addprefix $(OUT)/tests/bench/gossip_,bench.o edged.o serf.o)
	$(call say,LD,$@)
	$(LINK)
$(OUT)/tests/bench/gossip_sim: $(OUT)/tests/bench/gossip_sim.o $(SIM_LIB) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/tests/bench/region_sim: $(OUT)/tests/bench/region_sim.o $(SIM_LIB) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
# The agent on its own, with members that are made up.
ROUTES_HOOKS := gossip_core_member_count gossip_core_member_at gossip_core_member_get
$(OUT)/tests/bench/failover/routes: $(OUT)/tests/bench/failover/routes.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK) $(addprefix -Wl$(,)--wrap=,$(ROUTES_HOOKS))
.PHONY: bench-failover-build
bench-failover-build: $(OUT)/tests/bench/failover/routes
BENCH_GOSSIP := $(addprefix $(OUT)/tests/bench/,edged gossip_bench gossip_sim)
.PHONY: bench-gossip-build
bench-gossip-build: $(BENCH_GOSSIP)
.PHONY: bench-build
bench-build: $(BENCH)
BENCH_SKEL := $(OUT)/tests/bench/bench.skel.h $(OUT)/tests/bench/live.skel.h
$(OUT)/tests/bench/bench_prog.o $(OUT)/tests/bench/bench_live.o: | $(BENCH_SKEL)
$(BENCH): $(OUT)/tests/bench/%: $(OUT)/tests/bench/%.o $(OUT)/tests/bench/world.o
	$(call say,LD,$@)
	$(LINK)

$(OUT)/libedge.a: $(LIB_OBJ)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

LINK = $(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(PKG_LIBS)
$(OUT)/edged: $(OUT)/cmd/edged.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/edgefwd: $(OUT)/cmd/edgefwd.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/edgectl: $(CTL_OBJ) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/next/bpf/dp.bpf.o: bpf/dp.bpf.c Makefile
	$(call say,BPF,$< of the next ABI)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -DDP_ABI_VERSION=$(NEXT_ABI) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
$(OUT)/next/bpf/dp.skel.h: $(OUT)/next/bpf/dp.bpf.o
	$(call say,SKEL,$@)
	$(Q)bpftool gen skeleton $< name dp > $@
$(OUT)/next/%.o: %.c Makefile $(OUT)/next/bpf/dp.skel.h
	$(call say,CC,$< of the next ABI)
	@mkdir -p $(@D)
	$(Q)$(CC) -iquote $(OUT)/next $(ALL_CFLAGS) -DDP_ABI_VERSION=$(NEXT_ABI) -MMD -MP -c $< -o $@
$(OUT)/lab/speaks-%/version_built.o: gossip/version_built.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DVERSION_BUILT='$(subst -,$(,),$*)' -MMD -MP -c $< -o $@
$(OUT)/lab/speaks-%/edged: $(OUT)/lab/speaks-%/version_built.o $(OUT)/cmd/edged.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/lab/next/%: $(OUT)/cmd/%.o $(NEXT_OBJ) $(OUT)/libedge.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK)
$(OUT)/lab/edged-poison: $(OUT)/cmd/edged.o $(OUT)/tests/poison/hook.o $(OUT)/libedge.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK)
$(OUT)/lab/replay: $(OUT)/tests/sim/replay.o $(OUT)/libedge.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK)
$(OUT)/lab/sealflood: $(OUT)/tests/lab/sealflood.o $(OUT)/libedge.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK)
$(OUT)/lab/quicecho: TOOL_LIBS = $(shell pkg-config --libs $(QUIC_PKGS))
$(OUT)/lab/%: $(OUT)/tests/lab/%.o
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(TOOL_LIBS)

$(OUT)/tests/unit/%: $(OUT)/tests/unit/%.o $(TEST_LIB) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK) -lcmocka
$(OUT)/tests/sim/%: $(OUT)/tests/sim/%.o $(SIM_LIB) $(TEST_LIB) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK) -lcmocka
$(OUT)/tests/bpf/%: $(OUT)/tests/bpf/%.o $(TEST_LIB) $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK) -lcmocka
$(OUT)/tests/bpf/test_model: $(MODEL)
# A fuzz target and the replay main; `make fuzz` links the same object to libFuzzer.
$(OUT)/tests/fuzz/%: $(OUT)/tests/fuzz/%.o $(OUT)/tests/fuzz/replay_main.o $(OUT)/libedge.a
	$(call say,LD,$@)
	$(LINK)
$(OUT)/fuzz/%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/libedge.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(PKG_LIBS)

.SECONDARY:
-include $(shell find build -name '*.d' 2>/dev/null)
