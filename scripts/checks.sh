# shellcheck shell=bash
#
# What scripts/fuzz, scripts/sanitize, scripts/valgrind and others share: a working
# directory, verdicts, and an installation of PostgreSQL of its own, so that a
# build that is made for a check replaces nobody's extension.
#
# To be sourced after lib.sh.

work=
keep=
child=

# Sets work and log; the directory goes when the script ends, unless keep is set.
make_work_directory() {
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	# Not TMPDIR: the path of a socket must be short.
	work=$(mktemp -d "/tmp/gitlab_pat_fdw-${0##*/}.XXXXXX")
	chmod 755 "$work"
	log=$work/setup.log
	: >"$log"
}

clean_up() {
	local status=$?
	trap '' INT TERM HUP
	if [[ -n $child ]]; then
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	restore_default_cluster
	if [[ -n $work ]]; then
		stop_clusters_below "$work"
		stop_simulators_below "$work"
		cd /
		if [[ -n $keep ]]; then
			say "Everything is left in $work"
		else
			rm -rf "$work"
		fi
	fi
	exit "$status"
}

# Copies the installed PostgreSQL below $work/root and makes pg_config the one
# there.  PostgreSQL finds its files relative to its programs, so the programs
# are copies; all else are links.
make_private_installation() {
	local root=$work/root directory
	directory=$("$pg_config" --bindir)
	mkdir -p "$root$directory"
	cp -r "$directory/." "$root$directory"
	for directory in "$("$pg_config" --pkglibdir)" "$("$pg_config" --sharedir)" \
		"$("$pg_config" --includedir-server)"; do
		mkdir -p "$root$directory"
		cp --recursive --symbolic-link --no-clobber "$directory/." "$root$directory"
	done
	# The extension that may be installed for everybody is none of ours.
	rm -rf "$root$("$pg_config" --pkglibdir)"/{,bitcode/}gitlab_pat_fdw* \
		"$root$("$pg_config" --sharedir)"/extension/gitlab_pat_fdw*
	real_pg_config=$pg_config
	pg_config=$root$("$pg_config" --bindir)/pg_config
}

# Installs, below $work/root, what was built in a copy of the tree.  With
# with_llvm=no there is no bitcode: it would need the same compiler.
install_privately() {
	make --directory="$1" PG_CONFIG="$real_pg_config" DESTDIR="$work/root" \
		with_llvm=no install
}

# Compiler flags for the server's headers and the libraries that we use.
include_flags() {
	printf '%s\n' -I"$1/src" \
		-isystem "$("${real_pg_config:-$pg_config}" --includedir-server)"
	# shellcheck disable=SC2046
	printf '%s\n' $(pkg-config --cflags libcurl json-c) -D_GNU_SOURCE \
		-DGITLAB_PAT_FDW_VERSION='"0"'
}

# Makes $work/early.so, which belongs into LD_PRELOAD after a sanitizer.
build_early() {
	gcc -shared -fPIC -Wl,-z,initfirst -o "$work/early.so" "$1/test/fuzz/early.c"
}

# Puts a command in front of the private installation's server, from then on.
# The words are for sh, and may have quotes in them.
wrap_server() {
	local directory
	directory=$("$pg_config" --bindir)
	mv "$directory/postgres" "$directory/postgres.real"
	printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$*" "$directory/postgres.real" \
		>"$directory/postgres"
	chmod 755 "$directory/postgres"
}

# The cluster and the simulator that the tests of a copy of the tree need.
start_servers() {
	quietly "Starting PostgreSQL" start_cluster "$work/cluster"
	mkdir -p "$work/simulator"
	start_simulator "$work/simulator" "$1" --dates fixed
}

# "make installcheck" in a copy of the tree, with only one of its parts left.
run_installcheck() {
	local tree=$1
	shift
	# shellcheck disable=SC2154
	(cd "$tree" && "${as_server[@]}" env PGHOST="$work/cluster/socket" PGPORT=5432 \
		PGUSER=postgres GITLAB_SIM_URL="${simulator_url:-}" \
		PATH="$tree/test/gitlab_sim:$PATH" \
		make --no-print-directory PG_CONFIG="$pg_config" "$@" installcheck)
}

# A verdict in the Test Anything Protocol: what was tested, and the file, if
# any, whose last lines say what went wrong.
number=0
failures=0
verdict() {
	local what=$1 file=$2
	number=$((number + 1))
	if [[ -z $file ]]; then
		printf 'ok %d - %s\n' "$number" "$what"
	else
		failures=$((failures + 1))
		printf 'not ok %d - %s\n' "$number" "$what"
		tail -n 80 "$file" | sed 's/^/#   /'
	fi
}

# Runs a command, and gives the verdict by its exit status.  It runs in the
# background, so that a signal is handled at once, and so that a function ends at
# its first error.
check() {
	local what=$1 log=$work/check-$((number + 1)).log heartbeat failed=
	shift
	: >"$log"
	report_progress "$SECONDS" >&2 &
	heartbeat=$!
	"$@" >>"$log" 2>&1 </dev/null &
	child=$!
	wait "$child" || failed=$log
	child=
	kill "$heartbeat" 2>/dev/null || true
	wait "$heartbeat" 2>/dev/null || true
	verdict "$what" "$failed"
}
