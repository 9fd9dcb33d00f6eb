# eqat. `make` prints the targets. One folder per configuration: build, build-dev, build-asan, ...
SHELL = /bin/bash
.DEFAULT_GOAL := help
CC ?= gcc
ifeq ($(origin CC),default)
CC = gcc
endif

# ---- configuration: DEV=1, SAN=address|thread, CC=clang -----------------------------------------
OPT = -O3
B = build
ifeq ($(DEV),1)
OPT = -O1 -g -Werror
B = build-dev
endif
ifeq ($(SAN),address)
OPT = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
B = build-asan
endif
ifeq ($(SAN),thread)
OPT = -O1 -g -fsanitize=thread
B = build-tsan
endif
ifeq ($(FUZZ),1)
OPT = -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -DEQ_LIBFUZZER
B = build-fuzz
endif
ifeq ($(findstring clang,$(CC)),clang)
B := $(B)-clang
endif

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unknown-pragmas
# No -ffast-math anywhere. No contraction either: an a*b+c means the same in every build. errno and
# trapping arithmetic are not looked at, which lets rintf and sqrtf become instructions.
FP = -ffp-contract=off -fno-math-errno -fno-trapping-math
CFLAGS = -std=c11 $(OPT) $(WARN) $(FP) -fopenmp-simd -MMD -MP
CPPFLAGS = -Iinclude -Isrc -Icli -Ibench -D_POSIX_C_SOURCE=200809L
LDLIBS = -ldnnl -ljansson -lpcre2-8 -lutf8proc -lz -lzstd -lxxhash -lgomp -lstdc++ -lpthread -lm
LDFLAGS = $(filter -fsanitize=%,$(OPT))

PACKAGES = gcc g++ make pkg-config libdnnl-dev libjansson-dev libpcre2-dev libutf8proc-dev zlib1g-dev \
           libzstd-dev libxxhash-dev libcmocka-dev
HEADERS_NEEDED = dnnl.h jansson.h pcre2.h utf8proc.h zlib.h zstd.h xxhash.h cmocka.h

# ---- sources --------------------------------------------------------------------------------------
LIB_C := $(filter-out src/backend/cuda/%,$(sort $(wildcard src/*/*.c src/*/*/*.c)))
LIB_CC := $(sort $(wildcard src/*/*.cc src/*/*/*.cc))
CUDA_C := $(sort $(wildcard src/backend/cuda/*.c))
CUDA_CU := $(sort $(wildcard src/backend/cuda/*.cu))
CLI_C := $(sort $(wildcard cli/*.c))
TEST_C := $(sort $(wildcard tests/test_*.c))
TEST_CC := $(sort $(wildcard tests/test_*.cc))
TEST_HELP_C := $(filter-out $(TEST_C) $(wildcard tests/fuzz_*.c),$(sort $(wildcard tests/*.c)))
FUZZ_C := $(sort $(wildcard tests/fuzz_*.c))
TOOL_C := $(sort $(wildcard tools/*.c))
BENCH_C := $(sort $(wildcard bench/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_C)) $(patsubst tests/%.cc,$(B)/tests/%,$(TEST_CC))
FUZZERS := $(patsubst tests/%.c,$(B)/tests/%,$(FUZZ_C))
TOOLS := $(patsubst tools/%.c,$(B)/%,$(subst _,-,$(TOOL_C)))

.PHONY: help all deps test check fuzz demo bench clean install tools format man cuda
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  options: DEV=1 (warnings are errors)  SAN=address|thread  CC=clang  V=1 (commands)  PREFIX=/usr/local"

deps: ## install what is missing with apt, or name the line to run
	@tools/deps.sh "$(HEADERS_NEEDED)" "$(PACKAGES)"

all: deps ## build the program and the library
	@$(MAKE) --no-print-directory $(B)/eqat

tools: all ## build the helper programs (make-model, ...)
	@$(MAKE) --no-print-directory $(TOOLS)

test: deps ## build and run every test (Debian packages only, no network)
	@$(MAKE) --no-print-directory $(B)/eqat $(TOOLS) $(TESTS) $(FUZZERS)
	@tests/run.sh $(B)

check: deps ## test, then sanitizers, fuzz replay, faults, layers, headers, sizes
	@tools/check.sh

fuzz: deps ## extend the corpora with clang's libFuzzer, FUZZ_SECONDS (60) for each parser
	@tools/fuzz.sh $(or $(FUZZ_SECONDS),60)

format: ## write the source as clang-format 14 makes it
	@bash tools/check/format.sh write

demo: deps ## quantize the bundled model to 2 bits and print the table
	@$(MAKE) --no-print-directory $(B)/eqat
	@$(B)/eqat demo --assets assets/demo

bench: deps ## measure, as ratios to a roof or a peer in the same run
	@$(MAKE) --no-print-directory $(B)/eqat $(TOOLS)
	@$(B)/eqat bench

cuda: ## build the CUDA backend's library beside the program (needs nvcc 12.8 or later)
	@$(MAKE) --no-print-directory $(B)/libeqat-cuda.so

man: all ## make the man page and the shell completion in the build folder, from the option tables
	$(B)/eqat help --man >$(B)/eqat.1
	for s in bash zsh fish; do $(B)/eqat help --completion $$s >$(B)/completion.$$s || exit 1; done

install: man ## install program, library, header, pkg-config file, man page and completion below PREFIX
	install -D $(B)/eqat $(DESTDIR)$(PREFIX)/bin/eqat
	install -D -m644 $(B)/eqat.1 $(DESTDIR)$(PREFIX)/share/man/man1/eqat.1
	install -D -m644 $(B)/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/eqat
	install -D -m644 $(B)/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_eqat
	install -D -m644 $(B)/completion.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/eqat.fish
	install -D -m644 $(B)/libeqat.a $(DESTDIR)$(PREFIX)/lib/libeqat.a
	if [ -f $(B)/libeqat-cuda.so ]; then install -D -m644 $(B)/libeqat-cuda.so $(DESTDIR)$(PREFIX)/lib/eqat/libeqat-cuda.so; fi
	install -D -m644 include/eqat.h $(DESTDIR)$(PREFIX)/include/eqat.h
	mkdir -p $(DESTDIR)$(PREFIX)/lib/pkgconfig
	printf '%s\n' 'Name: eqat' 'Description: EfficientQAT: 2-, 3- and 4-bit language models' \
	    'Version: $(shell sed -n 's/.define EQ_VERSION "\(.*\)"/\1/p' include/eqat.h)' \
	    'Cflags: -I$(PREFIX)/include' 'Libs: -L$(PREFIX)/lib -leqat $(LDLIBS)' \
	    >$(DESTDIR)$(PREFIX)/lib/pkgconfig/eqat.pc

clean: ## remove every build folder
	rm -rf build build-dev* build-asan* build-tsan* build-fuzz* build-clang

PREFIX ?= /usr/local

# ---- rules ------------------------------------------------------------------------------------------
# One line a file; V=1 shows the commands.
ifeq ($(V),1)
say =
else
.SILENT:
say = @echo '  $(1)  $@'
endif

# A file's name says its instruction set: the dispatcher calls into it only where the CPU has it.
$(B)/obj/%_avx2.o: ISA = -mavx2 -mfma -mf16c
$(B)/obj/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512

$(B)/obj/%_avxvnni.o: ISA = -mavx2 -mfma -mf16c -mavxvnni
$(B)/obj/%_avx512vnni.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc)
	$(CC) $(CFLAGS) $(ISA) $(CPPFLAGS) -c $< -o $@

$(B)/obj/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(call say,c++)
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -MMD -MP -c $< -o $@

$(B)/libeqat.a: $(call obj,$(LIB_C)) $(patsubst %.cc,$(B)/obj/%.o,$(LIB_CC))
	@rm -f $@
	$(call say,ar)
	$(AR) rcs $@ $^

# An archive: a program takes from it what it names.
$(B)/libbench.a: $(call obj,$(BENCH_C))
	@rm -f $@
	$(call say,ar)
	$(AR) rcs $@ $^

$(B)/eqat: $(call obj,$(CLI_C)) $(B)/libbench.a $(B)/libeqat.a
	$(call say,ld)
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

# Instructions as loops: optimising thousands of them takes longer than running them once.
$(B)/obj/tests/lowbit_emu512.o: OPT += -O0

# ---- the CUDA backend: a library of its own, and the same sources on the tests' CPU ----------------
CXX = g++
ifeq ($(findstring clang,$(CC)),clang)
CXX = clang++
endif
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) nvcc)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(NVCC))
SM = 80 89 90 100
# Contraction is off here too, so kernels and their twins on the CPU give the same numbers.
NVCCFLAGS = -std=c++17 -O3 -fmad=false -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra \
            -Xptxas -v --source-in-ptx -lineinfo $(foreach sm,$(SM),-gencode arch=compute_$(sm),code=sm_$(sm))
# What the library needs of the rest: errors, memory, conversions.
PLUGIN_C = $(CUDA_C) src/base/err.c src/base/mem.c src/base/num.c src/backend/arena.c
PLUGIN_O = $(patsubst %.c,$(B)/obj/pic/%.o,$(PLUGIN_C)) $(patsubst %.cu,$(B)/obj/pic/%.o,$(CUDA_CU))

$(B)/obj/pic/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc)
	$(CC) $(CFLAGS) -fPIC -fvisibility=hidden -isystem $(CUDA_HOME)/include $(CPPFLAGS) -c $< -o $@

# Registers and spills of every kernel stand in the .txt beside the object.
$(B)/obj/pic/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(call say,nvcc)
	$(NVCC) $(NVCCFLAGS) $(CPPFLAGS) -MMD -MF $(@:.o=.d) -c $< -o $@ >$(@:.o=.txt) 2>&1 || { cat $(@:.o=.txt); exit 1; }

$(B)/libeqat-cuda.so: $(PLUGIN_O)
	$(call say,ld)
	$(CXX) -shared -Wl,--no-undefined,--exclude-libs,ALL $^ -L$(CUDA_HOME)/lib64 -lcublasLt -lcudart_static \
	    -ldl -lrt -lpthread -lm -o $@

# Times of its kernels, without the program around them.
$(B)/device-bench: $(B)/obj/pic/bench/device.o $(PLUGIN_O)
	$(call say,ld)
	$(CXX) $^ -L$(CUDA_HOME)/lib64 -lcublasLt -lcudart_static -ldl -lrt -lpthread -lm -o $@

EMU_C = $(filter-out %/blas.c,$(CUDA_C)) tests/cuda_emu/emu_blas.c
EMU_O = $(patsubst %.c,$(B)/obj/emu/%.o,$(EMU_C)) $(patsubst %.cu,$(B)/obj/emu/%.o,$(CUDA_CU)) \
        $(patsubst %.cc,$(B)/obj/emu/%.o,$(sort $(wildcard tests/cuda_emu/*.cc)))
EMUFLAGS = -Itests/cuda_emu $(CPPFLAGS) -MMD -MP
CXXFLAGS = -std=c++17 $(OPT:-O3=-O2) -Wall -Wextra -Wshadow -Wno-unknown-pragmas $(FP)
# What nvcc is asked to unroll, a CPU's compiler may leave.
ifneq ($(findstring clang,$(CXX)),)
CXXFLAGS += -Wno-pass-failed
endif
ifneq ($(and $(findstring address,$(SAN)),$(findstring g++,$(CXX))),)
CXXFLAGS += -fsanitize-sections=eq_shared
endif

$(B)/obj/emu/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc)
	$(CC) $(CFLAGS) $(EMUFLAGS) -c $< -o $@
$(B)/obj/emu/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(call say,c++)
	$(CXX) $(CXXFLAGS) $(EMUFLAGS) -x c++ -c $< -o $@
$(B)/obj/emu/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(call say,c++)
	$(CXX) $(CXXFLAGS) $(EMUFLAGS) -c $< -o $@

$(B)/libcudaemu.a: $(EMU_O)
	@rm -f $@
	$(call say,ar)
	$(AR) rcs $@ $^

$(B)/tests/test_cuda_%: $(B)/obj/emu/tests/test_cuda_%.o $(call obj,$(TEST_HELP_C)) $(B)/libcudaemu.a $(B)/libbench.a $(B)/libeqat.a
	@mkdir -p $(@D)
	$(call say,ld)
	$(CXX) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

ifeq ($(FUZZ),1)
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
endif
# Calls of the library that this test can make fail.
FAULTS = calloc write fsync rename open mmap mkdir opendir readdir ftruncate posix_fallocate unlink rmdir
$(B)/tests/test_faults: LDFLAGS += $(FAULTS:%=-Wl,--wrap=%)
$(B)/tests/%: $(B)/obj/tests/%.o $(call obj,$(TEST_HELP_C)) $(B)/libbench.a $(B)/libeqat.a
	@mkdir -p $(@D)
	$(call say,ld)
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

$(TOOLS): $(B)/%: $(TOOL_C) $(B)/libbench.a $(B)/libeqat.a
	$(call say,cc)
	$(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) tools/$(subst -,_,$*).c $(B)/libbench.a $(B)/libeqat.a $(LDLIBS) -o $@

.SECONDARY:
-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
