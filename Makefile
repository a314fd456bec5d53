# gitlab_pat_fdw

EXTENSION = gitlab_pat_fdw
MODULE_big = gitlab_pat_fdw
DATA = $(sort $(wildcard $(EXTENSION)--*.sql))
OBJS = gitlab_pat_fdw.o \
	src/fdw/ahead.o \
	src/fdw/analyze.o \
	src/fdw/async.o \
	src/fdw/ctid.o \
	src/fdw/direct.o \
	src/fdw/directory.o \
	src/fdw/estimate.o \
	src/fdw/explain.o \
	src/fdw/kept.o \
	src/fdw/modify.o \
	src/fdw/plan.o \
	src/fdw/pushdown.o \
	src/fdw/scan.o \
	src/fdw/secret.o \
	src/fdw/table.o \
	src/fdw/target.o \
	src/fdw/token.o \
	src/fdw/updates.o \
	src/sql/comments.o \
	src/sql/functions.o \
	src/sql/rotate_due.o \
	src/sql/rotate_due_1_1.o \
	src/sql/rotate_self.o \
	src/sql/secrets.o \
	src/sql/token_file.o \
	src/sql/try_commit.o \
	src/change/audit.o \
	src/change/batch.o \
	src/change/bots.o \
	src/change/container.o \
	src/change/kinds.o \
	src/change/ledger.o \
	src/change/placetokens.o \
	src/change/participant.o \
	src/change/lock.o \
	src/change/payment.o \
	src/change/place.o \
	src/change/posting.o \
	src/change/queue.o \
	src/change/quiet.o \
	src/change/tokens.o \
	src/change/transaction.o \
	src/change/undo.o \
	src/change/variables.o \
	src/change/writing.o \
	src/gitlab/body.o \
	src/gitlab/bounds.o \
	src/gitlab/call.o \
	src/gitlab/client.o \
	src/gitlab/connection.o \
	src/gitlab/filter.o \
	src/gitlab/listing.o \
	src/gitlab/lookups.o \
	src/gitlab/option.o \
	src/gitlab/order.o \
	src/gitlab/pages.o \
	src/gitlab/recent.o \
	src/gitlab/record.o \
	src/gitlab/resource.o \
	src/gitlab/resources.o \
	src/gitlab/sample.o \
	src/gitlab/search.o \
	src/gitlab/seen.o \
	src/gitlab/slices.o \
	src/gitlab/steps.o \
	src/gitlab/stream.o \
	src/gitlab/text.o \
	src/gitlab/totals.o \
	src/gitlab/values.o \
	src/gitlab/words.o \
	src/gitlab/zone.o \
	src/http/clock.o \
	src/http/engine.o \
	src/http/memory.o \
	src/http/request.o \
	src/http/sockets.o \
	src/http/transfer.o \
	src/http/url.o \
	src/http/waitset.o \
	src/http/watch.o

# The version stands in the control file only.
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

# PGXN wants three numbers.
DISTVERSION = $(EXTVERSION)$(if $(word 3,$(subst ., ,$(EXTVERSION))),,.0)
DISTNAME = $(EXTENSION)-$(DISTVERSION)

PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = -DGITLAB_PAT_FDW_VERSION='"$(EXTVERSION)"' -I$(CURDIR)/src \
	$(shell $(PKG_CONFIG) --cflags libcurl json-c)
# PostgreSQL's callbacks and initializers leave parameters and fields unused.
# For a compiler that warns of more than ours did: make WERROR=
WERROR ?= -Werror
PG_CFLAGS = -Wall -Wextra $(WERROR) -Wno-unused-parameter \
	-Wno-missing-field-initializers
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs libcurl json-c)

# "make installcheck" needs a running server with the extension installed, and
# the URL of the simulator (test/gitlab_sim) in GITLAB_SIM_URL.
REGRESS = $(sort $(notdir $(basename $(wildcard sql/*.sql))))
REGRESS_OPTS = --encoding=UTF8
ISOLATION = $(sort $(notdir $(basename $(wildcard specs/*.spec))))
ISOLATION_OPTS = --load-extension=$(EXTENSION)
TAP_TESTS = 1

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# How the specs of the isolation tests get to know the simulator.
installcheck: export PGOPTIONS += -c gitlab_sim.url=$(GITLAB_SIM_URL)

$(OBJS): $(wildcard src/*.h src/*/*.h) $(EXTENSION).control

# The commit that is checked out, as PGXN takes it.  It is the same, byte by byte,
# in every clone: entries have the time of the commit, and zip notes local time.
.PHONY: dist
dist:
	@git diff --quiet HEAD || { echo 'commit your changes first' >&2; exit 1; }
	TZ=UTC git archive -9 --prefix=$(DISTNAME)/ --output=$(DISTNAME).zip HEAD

# What the scripts do, by the names that one would try first.  They choose the
# newest PostgreSQL that is installed, unless PG_CONFIG names another one.
.PHONY: help test lint format
help:
	@echo 'make                 build the extension, for the PostgreSQL of PG_CONFIG'
	@echo 'make install         install it there'
	@echo 'make installcheck    test it in a running server (see CONTRIBUTING.md)'
	@echo 'make test            run all tests in servers of their own (scripts/test);'
	@echo '                     SUITES="layers regress" chooses some (scripts/test --help)'
	@echo 'make lint            static analysis, and whether the tree is formatted (scripts/lint)'
	@echo 'make format          format the tree (scripts/format)'
	@echo 'make dist            make the archive for PGXN'

test:
	scripts/test $(SUITES)

lint:
	scripts/lint

format:
	scripts/format
