# shellcheck shell=bash
#
# What scripts/quickstart and scripts/test share: packages, building out of a
# copy of the tree, a throwaway PostgreSQL, and the GitLab simulator.
#
# To be sourced, by a script that has set -euo pipefail.  Every process started
# here is ended by its recorded process id, never by name.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# The output of apt-get, make and initdb goes here; it is shown when one fails.
# A script that sources this file sets it before the first use of quietly().
log=

# Nothing of the caller's environment may reach the clusters or the build, other
# than what is documented: PG_CONFIG, PROVE_FLAGS, GITLAB_URL, GITLAB_TOKEN.
adopt_environment() {
	local variable
	for variable in "${!PG@}"; do
		[[ $variable == PG_CONFIG ]] || unset "$variable"
	done
	unset MAKEFLAGS MAKELEVEL MFLAGS CDPATH PERL5LIB PYTHONPATH PYTHONHOME
	export LC_ALL=C.UTF-8 PATH="/usr/sbin:/sbin:$PATH"
	# The simulator is on loopback: a proxy of the environment must not see it.
	export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
	umask 022
}

say() {
	printf '==> %s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Runs a command of which only a failure is worth reading, and says every ten
# seconds how far it has come.
quietly() {
	local what=$1 start=$SECONDS status=0 heartbeat logged
	shift
	logged=$(stat -c %s "$log")
	say "$what ..."
	report_progress "$start" &
	heartbeat=$!
	"$@" >>"$log" 2>&1 </dev/null || status=$?
	kill "$heartbeat" 2>/dev/null || true
	wait "$heartbeat" 2>/dev/null || true
	if ((status != 0)); then
		printf '\n--- the end of %s ---\n' "$log" >&2
		tail -c "+$((logged + 1))" "$log" | tail -n 60 >&2
		printf '%s\n\n' '---' >&2
		die "failed (exit status $status): $what"
	fi
	say "  done in $((SECONDS - start)) s"
}

report_progress() {
	local next=$(($1 + 10))
	# It ends with the script, however that ends.
	while kill -0 $$ 2>/dev/null; do
		# Not our output: a reader of a pipe must not wait for a sleep.
		sleep 1 >/dev/null 2>&1
		((SECONDS < next)) && continue
		next=$((SECONDS + 10))
		printf '      %3d s  %s\n' "$((SECONDS - $1))" \
			"$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c 1-68)"
	done
}

# Runs a command, its output shown and kept in a file, and returns its exit
# status.  It has a process group of its own and is waited for in the background,
# so that a signal to us is handled at once.
shown_command=
shown_display=

run_shown() {
	local output=$1 status=0
	shift
	# Before tail looks for it.
	: >"$output"
	setsid "$@" >"$output" 2>&1 </dev/null &
	shown_command=$!
	tail --lines=+1 --follow --sleep-interval=0.1 --pid="$shown_command" "$output" &
	shown_display=$!
	wait "$shown_command" || status=$?
	shown_command=
	wait "$shown_display" || true
	shown_display=
	return "$status"
}

# For traps: ends what run_shown runs.
end_shown() {
	if [[ -n $shown_command ]]; then
		kill -s TERM -- "-$shown_command" "$shown_display" 2>/dev/null || true
		# unshare ignores SIGTERM while it waits for its command, and the first
		# process of a namespace does as well.
		for _ in {1..50}; do
			kill -s 0 -- "-$shown_command" 2>/dev/null || break
			sleep 0.2
		done
		kill -s KILL -- "-$shown_command" 2>/dev/null || true
		wait "$shown_command" "$shown_display" 2>/dev/null || true
	fi
}

# --- users ---------------------------------------------------------------------

# Runs a command that changes the system: packages, make install.
as_root() {
	if ((EUID == 0)); then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root, and there is no sudo: $*"
	fi
}

# PostgreSQL refuses to run as root.  Afterwards "${as_server[@]}" in front of a
# command runs it as the user that the servers run as; it is a prefix and not a
# function so that $! is the process id of the command itself.
choose_server_user() {
	if ((EUID != 0)); then
		as_server=(env)
		return
	fi
	getent passwd postgres >/dev/null ||
		die "there is no user \"postgres\" to run PostgreSQL as"
	as_server=(setpriv --reuid=postgres --regid=postgres --init-groups
		env HOME=/var/lib/postgresql USER=postgres LOGNAME=postgres)
	unset XDG_RUNTIME_DIR
}

# Makes a directory that belongs to the user of the servers.
make_server_directory() {
	mkdir -p "$1"
	chmod "${2:-755}" "$1"
	if ((EUID == 0)); then
		chown postgres:postgres "$1"
	fi
}

# --- packages ------------------------------------------------------------------

# Sets pg_config and pg_major.  In this order: what PG_CONFIG says; the newest
# version whose development files are here; what the distribution has, which is
# not installed yet.
choose_postgresql() {
	pg_config=${PG_CONFIG:-}
	if [[ $pg_config == */* && $pg_config != /* ]]; then
		pg_config=$PWD/$pg_config
	fi
	if [[ -z $pg_config ]]; then
		pg_config=$(newest_installed_pg_config)
	fi
	if [[ -z $pg_config ]]; then
		pg_config=/usr/lib/postgresql/$(distribution_pg_major)/bin/pg_config
	fi
	if [[ $pg_config =~ ^/usr/lib/postgresql/([0-9]+)/bin/pg_config$ ]]; then
		pg_major=${BASH_REMATCH[1]}
	else
		# Not a Debian package: whoever built it has installed all of it.
		"$pg_config" --version >/dev/null || die "cannot run PG_CONFIG=$pg_config"
		pg_major=
	fi
}

newest_installed_pg_config() {
	local pgxs
	for pgxs in /usr/lib/postgresql/*/lib/pgxs; do
		if [[ -d $pgxs ]]; then
			printf '%s\n' "${pgxs%/lib/pgxs}/bin/pg_config"
		fi
	done | sort -t / -k 5,5n | tail -n 1
}

distribution_pg_major() {
	local major
	command -v apt-cache >/dev/null ||
		die "no PostgreSQL server development files found; set PG_CONFIG"
	# The lists may be older than the packages that they name, but the major
	# version does not change within a release.
	major=$(apt-cache depends postgresql 2>/dev/null |
		sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	if [[ -z $major ]]; then
		quietly "Reading the package lists" as_root apt-get update >&2
		major=$(apt-cache depends postgresql |
			sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	[[ -n $major ]] || die "apt-get knows no package \"postgresql\""
	printf '%s\n' "$major"
}

# Packages to build the extension and to run it against the simulator.  An
# alternative after a bar is as good when it is there already.
build_packages() {
	printf '%s\n' gcc make pkg-config libjson-c-dev \
		'libcurl4-openssl-dev|libcurl4-gnutls-dev'
	if [[ -n $pg_major ]]; then
		printf '%s\n' "postgresql-$pg_major" "postgresql-server-dev-$pg_major"
	fi
}

simulator_packages() {
	printf '%s\n' python3-starlette python3-uvicorn tzdata
}

# Prints the first alternative of each argument none of whose are installed.  A
# question mark at the end stands for "if the distribution has it".
missing_packages() {
	local wanted package
	for wanted in "$@"; do
		package=${wanted%\?}
		if [[ $package != "$wanted" ]] && ! apt-cache show "$package" >/dev/null 2>&1; then
			continue
		fi
		wanted=$package
		for package in ${wanted//|/ }; do
			if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]]; then
				continue 2
			fi
		done
		printf '%s\n' "${wanted%%|*}"
	done | sort -u
}

require_packages() {
	local -a missing
	if ! command -v dpkg-query >/dev/null; then
		say "this is no Debian: taking for granted what these packages have: $*"
		return
	fi
	mapfile -t missing < <(missing_packages "$@")
	if ((${#missing[@]} == 0)); then
		return
	fi
	if ((EUID != 0)) && ! command -v sudo >/dev/null; then
		die "these packages are missing, and only root can install them: ${missing[*]}"
	fi
	quietly "Reading the package lists" as_root apt-get update
	# Only now is it known which of the optional ones there are.
	mapfile -t missing < <(missing_packages "$@")
	say "These packages are missing and get installed: ${missing[*]}"
	without_default_cluster \
		quietly "Installing packages, with what they depend on" \
		as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes --no-install-recommends "${missing[@]}"
}

# Debian creates and starts a cluster "main" when a PostgreSQL server is
# installed for the first time, and starts nginx.  Nobody asked us for them, so
# that is turned off for as long as our installation runs, and stays as it is
# otherwise.
default_cluster_setting=
service_policy=

without_default_cluster() {
	local status=0
	default_cluster_setting=/etc/postgresql-common/createcluster.d/zz-gitlab_pat_fdw.conf
	as_root mkdir -p "${default_cluster_setting%/*}"
	as_root sh -c "echo 'create_main_cluster = false' >$default_cluster_setting"
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then
		service_policy=/usr/sbin/policy-rc.d
		as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$service_policy; chmod 755 $service_policy"
	fi
	("$@") || status=$?
	restore_default_cluster
	return "$status"
}

# For traps as well: the installation may be interrupted.
restore_default_cluster() {
	if [[ -n $default_cluster_setting ]]; then
		as_root rm -f "$default_cluster_setting"
		default_cluster_setting=
	fi
	if [[ -n $service_policy ]]; then
		as_root rm -f "$service_policy"
		service_policy=
	fi
}

# --- building ------------------------------------------------------------------

# Lists, each with a NUL after it, the files that make up the tree: what git
# knows and what is new, without what it ignores; all of it where there is no git.
list_tree() {
	local file
	cd "$repository" || return
	if command -v git >/dev/null && [[ -e .git ]]; then
		# The clone may belong to another user than root.
		git -c safe.directory="$repository" ls-files -z \
			--cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				if [[ -e $file || -L $file ]]; then
					printf '%s\0' "$file"
				fi
			done
	else
		# What another compiler or PostgreSQL has left must not be taken for ours.
		find . -path ./.git -prune -o ! -type d ! -name '*.o' ! -name '*.bc' ! -name '*.so' -print0
	fi
}

# Copies the files that make up the tree into a directory, keeping times, so
# that a second make finds its work done.
copy_files() {
	(list_tree) |
		tar --create --directory="$repository" --null --no-recursion --files-from=- |
		tar --extract --no-same-owner --directory="$1"
}

# A copy of the tree to build in: the clone itself stays clean, and the user of
# the servers can write results.
copy_tree() {
	local destination=$1
	make_server_directory "$destination"
	copy_files "$destination"
	if ((EUID == 0)); then
		chown -R postgres:postgres "$destination"
	fi
	chmod -R u+rwX,go+rX "$destination"
}

# Arguments: the copy of the tree, then more words for make.  Without the bitcode
# that PostgreSQL's JIT could inline: it takes as long as the build itself, and
# the executor calls a foreign data wrapper by pointers, which nothing inlines.
build_extension() {
	local tree=$1
	shift
	"${as_server[@]}" make --directory="$tree" -j "$(nproc)" \
		PG_CONFIG="$pg_config" with_llvm=no "$@" all
}

install_extension() {
	local make=(make --directory="$1" PG_CONFIG="$pg_config" with_llvm=no install)
	if [[ -w $("$pg_config" --pkglibdir) ]]; then
		"${make[@]}"
	else
		as_root "${make[@]}"
	fi
}

# --- a throwaway PostgreSQL ------------------------------------------------------

# Starts, and creates at first, a cluster below a directory.
start_cluster() {
	local directory=$1
	[[ -e $directory/data/PG_VERSION ]] || create_cluster "$directory" || return
	cluster_is_running "$directory" ||
		"${as_server[@]}" "$("$pg_config" --bindir)/pg_ctl" start --wait --silent \
			--pgdata="$directory/data" --log="$directory/postgresql.log" ||
		{
			tail -n 20 "$directory/postgresql.log"
			return 1
		}
}

# No TCP port, a socket that only the user of the servers (and root) gets at, and
# no care for the data when the machine fails.
create_cluster() {
	local directory=$1
	make_server_directory "$directory" &&
		make_server_directory "$directory/socket" 700 &&
		"${as_server[@]}" "$("$pg_config" --bindir)/initdb" \
			--pgdata="$directory/data" --username=postgres \
			--locale=C.UTF-8 --encoding=UTF8 --auth=trust --no-sync &&
		cat >>"$directory/data/postgresql.conf" <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$directory/socket'
			fsync = off
			log_line_prefix = '%m [%p] %q%u@%d '
		CONF
}

cluster_is_running() {
	"${as_server[@]}" "$("$pg_config" --bindir)/pg_ctl" status \
		--pgdata="$1/data" >/dev/null 2>&1
}

# Ends every postmaster whose data directory lies below a directory, those that
# an interrupted test left behind among them.
stop_clusters_below() {
	local file pid
	while IFS= read -r -d '' file; do
		pid=$(head -n 1 "$file")
		if [[ $(readlink "/proc/$pid/cwd") == "${file%/*}" ]]; then
			# Fast shutdown.
			end_process "$pid" INT
		fi
	done < <(find "$1" -name postmaster.pid -print0 2>/dev/null)
}

# Ends a process that need not be our child, and waits until it is gone.
end_process() {
	local pid=$1 signal=${2:-TERM} i
	kill -s "$signal" "$pid" 2>/dev/null || return 0
	for ((i = 0; i < 100; i++)); do
		process_is_alive "$pid" || return 0
		sleep 0.1
	done
	kill -s KILL "$pid" 2>/dev/null || true
}

# A zombie that nobody has waited for yet is not alive.
process_is_alive() {
	local state
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) &&
		[[ -n $state && $state != Z ]]
}

# --- the GitLab simulator --------------------------------------------------------

# Starts a simulator out of a copy of the tree, unless the one that this
# directory knows of still runs.  Sets simulator_url.
# shellcheck disable=SC2034
start_simulator() {
	local directory=$1 tree=$2
	shift 2
	if simulator_is_running "$directory"; then
		read -r simulator_url <"$directory/simulator.url"
		return
	fi
	# In a session of its own, so that an interrupt from the terminal is ours
	# to handle.
	"${as_server[@]}" setsid "$tree/test/gitlab_sim/gitlab-sim" --port 0 "$@" \
		>"$directory/simulator.url" 2>"$directory/simulator.log" </dev/null &
	printf '%s\n' "$!" >"$directory/simulator.pid"
	wait_for_simulator "$directory" "$!"
	read -r simulator_url <"$directory/simulator.url"
}

wait_for_simulator() {
	local directory=$1 pid=$2 i
	for ((i = 0; i < 300; i++)); do
		[[ -s $directory/simulator.url ]] && return
		process_is_alive "$pid" || break
		sleep 0.1
	done
	cat "$directory/simulator.log" >&2
	die "the GitLab simulator did not start"
}

# The process id alone proves nothing: it may have been given away since.
simulator_is_running() {
	local pid
	[[ -s $1/simulator.pid && -s $1/simulator.url ]] || return 1
	read -r pid <"$1/simulator.pid"
	[[ -r /proc/$pid/cmdline ]] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q gitlab-sim
}

stop_simulators_below() {
	local file
	while IFS= read -r -d '' file; do
		if simulator_is_running "${file%/*}"; then
			end_process "$(cat "$file")"
		fi
		rm -f "$file"
	done < <(find "$1" -name simulator.pid -print0 2>/dev/null)
}
