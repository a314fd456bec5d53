# shellcheck shell=bash
#
# Bare trees of the Debian release that this machine has, to try things where
# nothing is installed yet.
#
# To be sourced after lib.sh, by a script that runs as root.  Commands run in
# namespaces of their own, so that nothing stays mounted or running, however they
# or we end.

contained=(setpriv --pdeathsig KILL unshare --mount --propagation private
	--ipc --pid --fork --kill-child --mount-proc)

# Makes a tree with the essential packages, and the machine's own ways to Debian.
make_bare_tree() {
	local tree=$1 sources codename mirror proxy=
	# shellcheck source=/dev/null
	codename=$(source /etc/os-release && printf '%s' "$VERSION_CODENAME")
	sources=$(debian_sources)
	if [[ -z $sources ]]; then
		apt-get update
		sources=$(debian_sources)
	fi
	mirror=$(awk -v release="$codename" '$3 == release && $4 == "main" { print $2; exit }' \
		<<<"$sources")
	[[ -n $mirror ]] || die "apt is not configured for Debian's release \"$codename\""
	# debootstrap does not read apt's settings.
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	"${contained[@]}" env ${proxy:+http_proxy="$proxy"} \
		debootstrap --variant=minbase --include=ca-certificates \
		"$codename" "$tree" "$mirror"
	printf '%s\n' "$sources" >"$tree/etc/apt/sources.list"
	apt-config dump | grep '^Acquire::' >"$tree/etc/apt/apt.conf.d/machine"
	# It goes again: its files need not be safe on the disk.
	printf 'force-unsafe-io\n' >"$tree/etc/dpkg/dpkg.cfg.d/unsafe-io"
	# Packages start nothing.
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod 755 "$tree/usr/sbin/policy-rc.d"
}

# The lines for sources.list, from what apt has read.
debian_sources() {
	# shellcheck disable=SC2016
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' | sort -u
}

# Runs a command in a tree.
enter_tree() {
	local tree=$1
	shift
	mount --bind "$tree" "$tree"
	mount -t proc proc "$tree/proc"
	mount --rbind /dev "$tree/dev"
	mount -t tmpfs tmpfs "$tree/dev/shm"
	cp --remove-destination /etc/hosts /etc/resolv.conf "$tree/etc/"
	# Not instead of us: the first process of a namespace is a poor place for it.
	env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive chroot "$tree" "$@" || return
}

# shellcheck disable=SC2034
in_tree=("${contained[@]}" /bin/bash -euo pipefail -c
	"$(declare -f enter_tree); enter_tree \"\$@\"" enter)
