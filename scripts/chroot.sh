# shellcheck shell=bash
#
# Trees of Debian releases: bare ones, to try things where nothing is installed
# yet, and other releases than the machine's.
#
# To be sourced after lib.sh, by a script that runs as root.  Commands run in
# namespaces of their own, so that nothing stays mounted or running, however they
# or we end.

# Namespaces that go, with all that is mounted and runs in them, when the command
# ends or we do.
contained=(setpriv --pdeathsig KILL unshare --mount --propagation private
	--ipc --pid --fork --kill-child --mount-proc)

# --- making a tree -----------------------------------------------------------------

# Makes a tree with the essential packages of a release.  Of a second release,
# it takes those binary packages that the second argument names, as in
# apt_preferences(5).
make_bare_tree() {
	local tree=$1 pinned=$2
	shift 2
	quietly "Removing what there is of $tree" remove_tree "$tree"
	find_mirror
	require_packages debootstrap
	quietly "Making a tree of Debian's $1, $tree" bootstrap "$tree" "$1"
	configure_tree "$tree" "$pinned" "$@"
}

remove_tree() {
	rm -rf --one-file-system "$1"
}

# Downloads may fail.
bootstrap() {
	local tree=$1 release=$2 seconds
	for seconds in 10 30 0; do
		"${contained[@]}" debootstrap --variant=minbase --include=ca-certificates \
			"$release" "$tree" "$mirror" && return
		remove_tree "$tree"
		sleep "$seconds"
	done
	return 1
}

# Sets mirror to where the machine's own apt gets Debian from, and http_proxy for
# programs that do not read apt's settings.
find_mirror() {
	local proxy=
	mirror=$(debian_mirror)
	if [[ -z $mirror ]]; then
		quietly "Reading the package lists" apt-get update
		mirror=$(debian_mirror)
	fi
	[[ $mirror == http?(s)://* ]] ||
		die "apt is not configured for a mirror of Debian that is reached by HTTP"
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [[ -n $proxy && $proxy != DIRECT ]]; then
		export http_proxy=$proxy
	fi
}

debian_mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' | sed -n 's,^Debian main \(.*[^/]\)/*$,\1,p' | head -n 1
}

# The machine's own way to the mirror.
configure_tree() {
	local tree=$1 pinned=$2 each file
	shift 2
	for each in "$@"; do
		printf 'deb %s %s main\n' "$mirror" "$each"
	done >"$tree/etc/apt/sources.list"
	if (($# > 1)); then
		printf '%s\n' "Package: $pinned" "Pin: release a=$2" 'Pin-Priority: 990' \
			>"$tree/etc/apt/preferences.d/pinned"
	fi
	{
		apt-config dump | grep '^Acquire::'
		# A mirror may stand still for longer than unstable's lists are good for.
		printf '%s\n' 'Acquire::Check-Valid-Until "false";' \
			'Acquire::Retries "3";' 'APT::Update::Error-Mode "any";'
	} >"$tree/etc/apt/apt.conf.d/machine"
	for file in /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d/* /etc/apt/keyrings/*; do
		if [[ -f $file ]]; then
			mkdir -p "$tree${file%/*}"
			cp --no-clobber "$file" "$tree$file"
		fi
	done
	# It can be made again: its files need not be safe on the disk.
	printf 'force-unsafe-io\n' >"$tree/etc/dpkg/dpkg.cfg.d/unsafe-io"
	# Packages start nothing.
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod 755 "$tree/usr/sbin/policy-rc.d"
}

# --- in a tree ---------------------------------------------------------------------

# Runs a command in a tree.  What it writes goes to a directory that is to be
# thrown away; or, if that is named '', into the tree.  The files of a third
# directory are seen in /mnt.
enter_tree() {
	local tree=$1 scratch=$2 source=$3 variable
	local -a environment=(HOME=/root LC_ALL=C.UTF-8
		PATH=/usr/sbin:/usr/bin:/sbin:/bin)
	shift 3
	if [[ -z $scratch ]]; then
		mount --bind "$tree" "$tree"
	else
		mkdir -p "$scratch"
		# What is an overlay itself cannot take what is written to one.
		mount_overlay "$tree" "$scratch" 2>/dev/null || {
			mount -t tmpfs tmpfs "$scratch"
			mount_overlay "$tree" "$scratch"
		}
		tree=$scratch/root
	fi
	mount -t proc proc "$tree/proc"
	mount --rbind /dev "$tree/dev"
	mount -t tmpfs tmpfs "$tree/dev/shm"
	mount --bind -o ro "$source" "$tree/mnt"
	cp --remove-destination /etc/hosts /etc/resolv.conf "$tree/etc/"
	for variable in http_proxy https_proxy no_proxy PG_CONFIG PROVE_FLAGS PROVE_TESTS; do
		if [[ -n ${!variable:-} ]]; then
			environment+=("$variable=${!variable}")
		fi
	done
	# Not instead of us: the first process of a namespace is a poor place for it.
	env -i "${environment[@]}" chroot "$tree" "$@" || return
}

mount_overlay() {
	mkdir -p "$2/root" "$2/upper" "$2/work"
	mount -t overlay overlay "$2/root" \
		-o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work"
}

# shellcheck disable=SC2034
in_tree=("${contained[@]}" /bin/bash -euo pipefail -c
	"$(declare -f enter_tree mount_overlay); enter_tree \"\$@\"" enter)
