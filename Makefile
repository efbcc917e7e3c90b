# weir's front door. Meson does the work (see meson.build); each target here is a few words for it.
#
#   make run       install what is missing, build, start weir and show what it does    (TOUR=0: only start it)
#   make test      install what is missing, then everything that must be green
#
# `make` alone lists the rest. Build folders: build, build-asan, build-tsan, build-fuzz, build-cover, build-release.

SHELL       = /bin/bash
MAKEFLAGS  += --no-print-directory
MESON_OPTS  =
TOUR        = 1
S           =
K           =
T           =
SECS        = 60
PREFIX      = /usr/local
WEB         = auto

export LC_ALL    = C.UTF-8
# lighttpd and nginx live where an ordinary user's PATH does not look.
export PATH     := $(PATH):/usr/sbin:/sbin
SANITIZE_ADDRESS = -Db_sanitize=address,undefined -Db_lundef=false
SANITIZE_THREAD  = -Db_sanitize=thread -Db_lundef=false

# $(call compile,FOLDER,OPTIONS): set the folder up when it is new, then build what changed.
define compile
@[ '$(WEB)' = disabled ] || tools/web-deps
@test -f $(1)/build.ninja || { echo "weir: compiling into $(1)/ ..."; \
	meson setup $(1) $(2) -Dweb=$(WEB) $(MESON_OPTS) >$(1).log 2>&1 || { cat $(1).log; rm -rf $(1) $(1).log; exit 1; }; rm -f $(1).log; }
@ninja --quiet -C $(1) build.ninja >$(1)/meson-logs/again.txt 2>&1 || { cat $(1)/meson-logs/again.txt; exit 1; }
@set -o pipefail; ninja --quiet -C $(1) | sed '/^ninja: no work to do/d'
endef

.PHONY: help run test test-all build release asan tsan stories crash fuzz valgrind tidy format layers cover bench screenshots docs install \
	clean packages

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r a b; do printf '%-16s %s\n' "$$a" "$$b"; done

run: build  ## install, build, start weir and show what it does; Ctrl-C ends it (TOUR=0: only start the daemon)
	@if [ "$(TOUR)" = 0 ]; then exec build/weir serve; else exec tools/tour; fi

test:  ## install, build, then unit tests, fuzz corpora, stories, layers, alerts: ends with "N passed, N failed"
	@tools/install-packages build run test
	@tools/web-deps
	@exec tools/run-tests

test-all:  ## make test, and the same with the thread sanitizer, under valgrind, and a minute of each fuzzer
	@tools/install-packages build run test dev
	@tools/web-deps
	@exec tools/run-tests --all --seconds $(SECS)

build:  ## build/weir, with debug information
	@tools/install-packages build run
	$(call compile,build)

release:  ## build-release/weir, as a package would hold it
	@tools/install-packages build run
	$(call compile,build-release,-Dbuildtype=release -Doptimization=2 -Dtests=false)

asan:  ## build-asan/weir, with the address and undefined-behaviour sanitizers, and its unit tests
	@tools/install-packages build run
	$(call compile,build-asan,$(SANITIZE_ADDRESS))
	@meson test -C build-asan --no-rebuild --print-errorlogs

tsan:  ## build-tsan/weir, with the thread sanitizer, and its unit tests
	@tools/install-packages build run
	$(call compile,build-tsan,$(SANITIZE_THREAD))
	@meson test -C build-tsan --no-rebuild --print-errorlogs

stories: build  ## scenario tests against build/weir; S=pattern picks some (WEIR_BIN=... another binary)
	@tools/install-packages test
	@exec env WEIR_BIN="$${WEIR_BIN:-$(CURDIR)/build/weir}" tests/stories/run $(if $(S),-k '$(S)')

crash: build  ## every durable write, with every fault of the disk at every operation, and after a kill -9 (K=word picks scenarios)
	@build/tests/crash/crash --self-test $(if $(K),-k '$(K)')
	@build/tests/crash/crash --seeds 10 $(if $(K),-k '$(K)')
	@$(if $(K),true,tests/crash/kill9)

fuzz:  ## libFuzzer, SECS=60 seconds for each target, or T=pktline alone
	@tools/install-packages build dev
	$(call compile,build-fuzz,--native-file tools/clang.ini -Dfuzz=true $(SANITIZE_ADDRESS))
	@exec tools/fuzz --seconds $(SECS) $(T)

valgrind: build  ## unit tests under memcheck
	@tools/install-packages dev
	@meson test -C build --no-rebuild --print-errorlogs --suite unit -t 20 --wrap '$(CURDIR)/tools/memcheck'

tidy: build  ## clang-tidy over src/ (without the tests, which pass wrong things on purpose)
	@tools/install-packages dev
	@find src -name '*.c' ! -name '*_test.c' | xargs -P2 -n4 clang-tidy --quiet -p build

format:  ## clang-format on the lines that you changed since HEAD
	@tools/install-packages dev
	@git clang-format --extensions c,h || true

layers:  ## check that includes only go down (docs/DESIGN.md, "Folders")
	@tools/layers

cover:  ## line coverage of unit tests and stories, in build-cover/coverage.html
	@tools/install-packages build run test dev
	$(call compile,build-cover,-Db_coverage=true -Dbuildtype=debug)
	@exec tools/cover

bench: release  ## figures against nginx and git-http-backend, on this machine
	@tools/install-packages run test dev
	@exec env WEIR_BIN="$${WEIR_BIN:-$(CURDIR)/build-release/weir}" tests/bench/run

screenshots: build  ## the pictures in docs/screenshots/: real pages, some minutes of real traffic
	@tools/install-packages test
	@exec env WEIR_BIN="$${WEIR_BIN:-$(CURDIR)/build/weir}" tools/screenshots

docs:  ## check the manual pages and render them to build/docs/
	@tools/install-packages test
	@exec tools/docs

# FROM=folder: what is built there, as it was set up, and not a release.
install: $(if $(FROM),,release)  ## weir, its other names, libweir-client and the manual pages to PREFIX=/usr/local
	@test -n '$(FROM)' || { meson configure build-release -Dprefix='$(PREFIX)' -Dlibdir=lib && ninja --quiet -C build-release; } >/dev/null
	@meson install --quiet --no-rebuild -C '$(or $(FROM),build-release)' $(if $(DESTDIR),--destdir '$(abspath $(DESTDIR))')

clean:  ## remove the build folders
	rm -rf build build-*
