# gitlab_pat_fdw

EXTENSION = gitlab_pat_fdw
MODULE_big = gitlab_pat_fdw
DATA = $(sort $(wildcard $(EXTENSION)--*.sql))
OBJS = gitlab_pat_fdw.o \
	src/fdw/analyze.o \
	src/gitlab/body.o \
	src/gitlab/call.o \
	src/gitlab/client.o \
	src/http/clock.o \
	src/gitlab/connection.o \
	src/http/engine.o \
	src/fdw/estimate.o \
	src/fdw/explain.o \
	src/gitlab/filter.o \
	src/sql/functions.o \
	src/change/ledger.o \
	src/gitlab/listing.o \
	src/gitlab/lookups.o \
	src/http/memory.o \
	src/fdw/modify.o \
	src/gitlab/option.o \
	src/gitlab/pages.o \
	src/change/payment.o \
	src/fdw/plan.o \
	src/change/posting.o \
	src/fdw/pushdown.o \
	src/change/queue.o \
	src/change/quiet.o \
	src/gitlab/record.o \
	src/http/request.o \
	src/gitlab/resources.o \
	src/sql/rotate_due.o \
	src/sql/rotate_self.o \
	src/fdw/scan.o \
	src/gitlab/seen.o \
	src/http/sockets.o \
	src/gitlab/steps.o \
	src/gitlab/stream.o \
	src/fdw/table.o \
	src/gitlab/text.o \
	src/fdw/token.o \
	src/change/transaction.o \
	src/http/transfer.o \
	src/change/undo.o \
	src/http/url.o \
	src/change/variables.o \
	src/gitlab/words.o \
	src/change/writing.o

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
