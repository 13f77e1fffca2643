# nginx-llm.  "make help" prints this:
#:
#: make               the module and llmctl, in build/
#: make demo          install what is missing, build, start nginx with the
#:                    demo model on 127.0.0.1:8080, stream one answer
#: make demo-stop     stop it
#: make install       module, llmctl, conf.example and the demo model
#: make test          install what the tests need, run them all
#: make reference     compare with PyTorch and transformers, fresh seeds
#: make bench         the performance table
#: make alerts-check  each alert under a real Prometheus and a real fault
#: make sanitize      the tests with ASan and UBSan, the threads' with TSan
#: make fuzz          each fuzz target for FUZZ_SECONDS (60)
#: make gpu-check     build, check and measure the CUDA back end
#: make unit          build the unit tests only
#: make clean         remove build/ but for the demo and virtual environments
#:
#: CC=clang           another compiler
#: NGINX_SRC=/path    build against this nginx source (its version must be
#:                    the version of the nginx that loads the module)
#: NGINX_BIN=/path    the nginx to install for and to test with
#: B=build/other      another build folder
#: PORT=8081          of the demo
#: T=t/10-auth.t      some tests only;  JOBS=2 at a time
#: DESTDIR= PREFIX=/usr/local DATADIR=/usr/share/nginx-llm MODULES=  install
#: V=1                show the commands

ifeq ($(origin CC),default)
CC         := gcc
endif

B          ?= build
NGINX_SRC  ?= /usr/share/nginx/src
# not NGINX: nginx itself reads a variable of that name
NGINX_BIN  ?= nginx
DESTDIR    ?=
PREFIX     ?= /usr/local
DATADIR    ?= /usr/share/nginx-llm
MODULES    ?= $(shell PATH=$$PATH:/usr/sbin $(NGINX_BIN) -V 2>&1 | tr ' ' '\n' | \
                sed -n 's/^--modules-path=//p')
PORT       ?= 8080
CFLAGS     ?= -O2 -g
SANITIZE   ?=
V          ?=
T          ?=

export CC NGINX_BIN NGINX_SRC PORT
# Debian's nginx lies where a user's PATH does not lead
export PATH := $(PATH):/usr/sbin

# all processors, unless told otherwise
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS  += -j$(shell nproc 2>/dev/null || echo 1)
endif
endif
MAKEFLAGS  += --no-builtin-rules --no-print-directory

Q           = $(if $(V),,@)
SAY         = $(if $(V),@:,@printf '  %-6s %s\n')

WARN        = -D_GNU_SOURCE -Wall -Wextra -Wpointer-arith -Wno-unused-parameter -Werror
HIDE        = -fPIC -fvisibility=hidden
LIBS        = -llmdb -ljansson -lpcre2-8 -lcrypto -lqrencode -lpthread -lm
SAN         = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -O1 \
              -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
SANCC       = $(if $(SANITIZE),-U_FORTIFY_SOURCE)

ALL_CFLAGS  = $(CFLAGS) $(WARN) $(HIDE) $(SAN) $(SANCC)


# libllm.a: everything below nginx, for llmctl and the unit tests

LIB_SRC    := $(wildcard engine/*.c engine/models/*.c kernels/*.c \
                kernels/ref/*.c kernels/cpu/*.c ngx_module/store/*.c \
                ngx_module/audit/*.c ngx_module/metrics/*.c)
CTL_SRC    := $(wildcard ngx_module/ctl/*.c)
NGX_SRC    := $(wildcard ngx_module/*.c)
HEADERS    := $(wildcard engine/*.h engine/models/*.h kernels/*.h \
                kernels/ref/*.h kernels/cpu/*.h ngx_module/*.h \
                ngx_module/*/*.h t/unit/*.h)
CONSOLE    := $(wildcard ngx_module/console/*.*) scripts/console_embed.sh

UNIT_TOOLS := tokenize_lines hold_lock
UNIT_LIBS  := fake_token fake_nvml fake_nvml_old
UNITS      := $(filter-out $(UNIT_TOOLS) $(UNIT_LIBS), \
                $(patsubst t/unit/%.c,%,$(wildcard t/unit/*.c)))
BENCH_BIN  := $(patsubst t/bench/%.c,$(B)/bench/%,$(wildcard t/bench/*.c))
FUZZERS    := $(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/fuzz_*.c))

LIB_OBJ    := $(LIB_SRC:%.c=$(B)/obj/%.o)
CTL_OBJ    := $(CTL_SRC:%.c=$(B)/obj/%.o)
UNIT_BIN   := $(UNITS:%=$(B)/unit/%)
TOOL_BIN   := $(patsubst t/unit/%.c,$(B)/unit-tools/%, \
                $(wildcard $(UNIT_TOOLS:%=t/unit/%.c))) \
              $(patsubst t/unit/%.c,$(B)/unit-tools/%.so, \
                $(wildcard $(UNIT_LIBS:%=t/unit/%.c)))

MODULE     := $(B)/ngx_http_llm_module.so
LLMCTL     := $(B)/llmctl


.PHONY: all module llmctl unit install demo demo-stop test reference bench sanitize
.PHONY: alerts-check fuzz fuzzers gpu-check clean help nginx FORCE

all: $(MODULE) $(LLMCTL)

module: $(MODULE)

llmctl: $(LLMCTL)

unit: $(UNIT_BIN) $(TOOL_BIN)

help:
	@sed -n '/^#:/s/^#: \{0,1\}//p' Makefile


# Stamps that change only when what they hold does: a build with another
# compiler or other flags, or a new or removed file, remakes what it must.

$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || \
	    echo '$(CC) $(ALL_CFLAGS)' > $@

$(B)/sources: FORCE
	@mkdir -p $(B)
	@echo '$(LIB_SRC) $(NGX_SRC) $(HEADERS) $(CONSOLE)' | cmp -s - $@ || \
	    echo '$(LIB_SRC) $(NGX_SRC) $(HEADERS) $(CONSOLE)' > $@

$(B)/nginx-flags: FORCE
	@mkdir -p $(B)
	@echo '$(NGINX_SRC) $(CC) $(SAN)' | cmp -s - $@ || \
	    echo '$(NGINX_SRC) $(CC) $(SAN)' > $@


# One readable line for each library that is missing, before the compiler's
# many.  config probes them again, for builds without this file.

$(B)/libraries: Makefile
	@mkdir -p $(B)
	@command -v $(firstword $(CC)) >/dev/null || { echo \
	    "nginx-llm: no compiler $(CC): apt-get install gcc" >&2; exit 1; }
	@rc=0; for lib in lmdb.h:LMDB:liblmdb-dev jansson.h:jansson:libjansson-dev \
	    pcre2.h:PCRE2:libpcre2-dev openssl/evp.h:OpenSSL-3:libssl-dev \
	    qrencode.h:libqrencode:libqrencode-dev \
	    p11-kit-1/p11-kit/pkcs11.h:PKCS-11-header:libp11-kit-dev; do \
	    header=$${lib%%:*}; name=$${lib#*:}; \
	    printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <%s>\n' $$header | \
	        $(CC) -E - >/dev/null 2>&1 || { rc=1; echo "nginx-llm:" \
	        "$${name%:*} is missing: apt-get install $${name#*:}" >&2; }; \
	done; exit $$rc
	@touch $@


# kernels are optimised further; a sanitizer's level still counts, it is last

$(B)/obj/kernels/%.o: CFLAGS += -O3

$(B)/obj/%.o: %.c $(B)/flags | $(B)/libraries
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libllm.a: $(LIB_OBJ) $(B)/sources
	$(SAY) AR $@
	$(Q)rm -f $@
	$(Q)ar rcs $@ $(LIB_OBJ)

$(LLMCTL): $(CTL_OBJ) $(B)/libllm.a
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(CTL_OBJ) $(B)/libllm.a $(LIBS)

$(B)/unit/%: t/unit/%.c $(B)/libllm.a $(B)/flags
	@mkdir -p $(@D) $(B)/obj/t/unit
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $(B)/obj/t/unit/$*.d -MT $@ \
	    -o $@ $< $(B)/libllm.a $(LIBS)

$(B)/unit-tools/%: t/unit/%.c $(B)/libllm.a $(B)/flags
	@mkdir -p $(@D) $(B)/obj/t/unit
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $(B)/obj/t/unit/$*.d -MT $@ \
	    -o $@ $< $(B)/libllm.a $(LIBS)

$(B)/unit-tools/%.so: t/unit/%.c $(B)/flags
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -shared -o $@ $< -lcrypto

-include $(LIB_OBJ:.o=.d) $(CTL_OBJ:.o=.d)
-include $(UNITS:%=$(B)/obj/t/unit/%.d) $(UNIT_TOOLS:%=$(B)/obj/t/unit/%.d)


# The module is built by nginx's own configure and make, through config and
# config.make, in $(B)/nginx.

$(B)/nginx/objs/Makefile: config config.make scripts/nginx_configure.sh \
    $(B)/sources $(B)/nginx-flags | $(B)/libraries
	$(SAY) CONF $(NGINX_SRC)
	$(Q)NGX_SRC='$(NGINX_SRC)' CC='$(CC)' NGX_LLM_CC_OPT='$(SAN) $(SANCC)' \
	    NGX_LLM_LD_OPT='$(SAN)' scripts/nginx_configure.sh $(B)/nginx

$(MODULE): $(B)/nginx/objs/Makefile $(LIB_SRC) $(NGX_SRC) $(HEADERS) $(CONSOLE)
	$(SAY) NGINX $@
	$(Q)$(MAKE) -C $(B)/nginx -f objs/Makefile modules \
	    $(if $(V),,>$(B)/nginx/make.log)
	$(Q)cp $(B)/nginx/objs/ngx_http_llm_module.so $@.part
	$(Q)mv $@.part $@

# the nginx of an upstream NGINX_SRC, to test the module with:
#     make nginx NGINX_SRC=... B=build/upstream
#     make test NGINX_SRC=... B=build/upstream NGINX_BIN=$PWD/build/upstream/nginx/objs/nginx
nginx: $(B)/nginx/objs/Makefile
	$(SAY) NGINX $(B)/nginx/objs/nginx
	$(Q)$(MAKE) -C $(B)/nginx -f objs/Makefile binary >$(B)/nginx/make.log


$(B)/bench/%: t/bench/%.c $(B)/libllm.a $(B)/flags
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $< $(B)/libllm.a $(LIBS)

$(B)/fuzz/%: t/fuzz/%.c $(B)/libllm.a $(B)/flags
	@mkdir -p $(@D) $(B)/obj/t/fuzz
	$(SAY) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -MMD -MP \
	    -MF $(B)/obj/t/fuzz/$*.d -MT $@ -o $@ $< $(B)/libllm.a $(LIBS)

-include $(FUZZERS:%=$(B)/obj/t/fuzz/%.d)

fuzzers: $(FUZZERS:%=$(B)/fuzz/%)


install: all
	@test -n '$(MODULES)' || { echo "nginx-llm: $(NGINX_BIN) -V names no" \
	    "modules path; say it: make install MODULES=/path" >&2; exit 1; }
	install -d '$(DESTDIR)$(MODULES)' '$(DESTDIR)$(PREFIX)/bin' \
	    '$(DESTDIR)$(DATADIR)/demo' '$(DESTDIR)$(DATADIR)/monitoring'
	install -m 644 $(MODULE) '$(DESTDIR)$(MODULES)'
	install -m 755 $(LLMCTL) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 conf.example '$(DESTDIR)$(DATADIR)'
	install -m 644 $(wildcard t/models/demo/*) '$(DESTDIR)$(DATADIR)/demo'
	install -m 644 $(wildcard monitoring/*) \
	    '$(DESTDIR)$(DATADIR)/monitoring'


# These install what they need before they build, so they have no
# prerequisites: the build is theirs to start.

demo:
	@scripts/deps.sh build demo
	@$(MAKE) all
	@B='$(B)' scripts/demo.sh

demo-stop:
	@scripts/demo_stop.sh

test:
	@scripts/deps.sh build demo test
	@$(MAKE) all unit
	@B='$(B)' scripts/test.sh $(T)

# a quarter of an hour, mostly waiting
alerts-check:
	@scripts/deps.sh build demo test
	@$(MAKE) all
	@B='$(B)' LLM_SLOW=1 scripts/test.sh t/alerts.t t/prometheus.t

reference:
	@scripts/deps.sh build reference
	@$(MAKE) all unit
	@B='$(B)' scripts/reference.sh $(T)

bench:
	@scripts/deps.sh build demo bench
	@$(MAKE) all $(BENCH_BIN)
	@B='$(B)' scripts/bench.sh

sanitize:
	@scripts/deps.sh build demo test
	@MAKE='$(MAKE)' scripts/sanitize.sh $(T)

fuzz:
	@scripts/deps.sh build fuzz
	@MAKE='$(MAKE)' scripts/fuzz.sh $(T)

gpu-check:
	@echo "nginx-llm: no CUDA back end in this version" >&2; exit 1


FORCE:

# what took a download or holds a key stays
clean:
	@[ ! -d $(B) ] || find $(B) -mindepth 1 -maxdepth 1 ! -name demo \
	    ! -name 'venv*' ! -name reference-venv ! -name cache \
	    -exec rm -rf {} +
