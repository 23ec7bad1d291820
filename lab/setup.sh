# shellcheck shell=bash
# Brings what the sources need onto this machine: npm packages always, Debian packages for real machines.
# Sourced by start.sh, test/run.sh and test/check.sh. Does nothing, quickly, where everything is there.
PROJECT=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
# libatomic1 is what the pinned Node needs beside the C library; Debian's smallest installation lacks it.
DEBIAN_PACKAGES="systemd-container dbus iproute2 procps polkitd etcd-server etcd-client libatomic1 nftables conntrack git"
# What only tests need: the peers that the client is tried against.
TEST_PACKAGES="openssh-server gnupg"

# A progress line with the seconds since the script began; `fail` ends it with what to do.
step() { printf '%3ds  %s\n' "$SECONDS" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Why real machines cannot be booted here; empty when they can.
no_machines_because() {
  if [ "$(uname -s)" != Linux ]; then echo "this is $(uname -s), and machines need Linux"
  elif [ "$(id -u)" != 0 ]; then echo "booting machines needs root"
  elif [ -n "$(missing_debian_packages)" ] && ! command -v apt-get >/dev/null; then
    echo "this is not Debian; install what provides: $(missing_debian_packages)"; fi; }

missing_debian_packages() { # judged by what they bring, which other packages may bring too
  local package multiarch; multiarch=$(uname -m)-linux-gnu
  local -A brings=([libatomic1]=lib/$multiarch/libatomic.so.1 [systemd-container]=bin/systemd-nspawn [dbus]=lib/systemd/system/dbus.service
    [iproute2]=bin/ip [polkitd]=lib/polkit-1/polkitd [procps]=sbin/sysctl [etcd-server]=bin/etcd [etcd-client]=bin/etcdctl
    [nftables]=sbin/nft [conntrack]=sbin/conntrack [git]=bin/git [openssh-server]=sbin/sshd [gnupg]=bin/gpg)
  for package in $DEBIAN_PACKAGES; do
    [ -e "/usr/${brings[$package]}" ] || [ -e "/${brings[$package]}" ] || printf '%s ' "$package"; done; }

install_debian_packages() {
  local missing log; missing=$(missing_debian_packages); [ -n "$missing" ] || return 0
  step "installing Debian packages: $missing"
  log=$(mktemp); local policy=/usr/sbin/policy-rc.d made=
  # Installed services (etcd) are neither started now nor at the next boot: the lab runs its own.
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; made=yes; }
  # shellcheck disable=SC2086
  apt_install $missing > "$log" 2>&1 || { [ -z "$made" ] || rm -f $policy; tail -n 12 "$log" >&2
    fail "apt-get could not install: ${missing}(all of its output: $log). Is the network there? Install them by hand and try again."; }
  [ -z "$made" ] || rm -f $policy
  [[ $missing != *etcd-server* ]] || systemctl --quiet disable etcd.service >/dev/null 2>&1 || true
  rm -f "$log"; }
apt_install() { # the package lists are fetched only when those at hand do not do
  local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=60 -o Acquire::Retries=2); export DEBIAN_FRONTEND=noninteractive
  apt-get install "${options[@]}" "$@" </dev/null && return
  apt-get update </dev/null && apt-get install "${options[@]}" "$@" </dev/null; }

# shellcheck disable=SC2016
npm_packages_match() { # node_modules holds what package-lock.json names (foreign platforms' binaries aside), runtime included
  [ -x "$PROJECT/node_modules/node/bin/node" ] && "$PROJECT/node_modules/node/bin/node" -e '
    const read = (file) => JSON.parse(require("fs").readFileSync(`${process.argv[1]}/${file}`, "utf8"));
    const here = read("node_modules/.package-lock.json").packages;
    const fits = ([path, { version, optional }]) => path === "" || (here[path]?.version ?? (optional ? version : "")) === version;
    const runtime = read("package.json").devDependencies.node;
    process.exit(Object.entries(read("package-lock.json").packages).every(fits) && process.version === `v${runtime}` ? 0 : 1);
  ' "$PROJECT" 2>/dev/null; }
install_npm_packages() {
  ! npm_packages_match || return 0
  command -v npm >/dev/null || fail "npm is not there: install Node.js 20 or later with npm (Debian: apt-get install nodejs npm)"
  local log; log=$(mktemp); step "installing npm packages (pinned runtime included)"
  # Not `npm ci`: registries that lack other platforms' binaries leave holes in the lock file, which it refuses.
  (cd "$PROJECT" && npm install --no-audit --no-fund --loglevel=error) > "$log" 2>&1 </dev/null || { tail -n 12 "$log" >&2
    fail "npm install failed (all of its output: $log). Is the registry within reach? See 'npm config get registry'."; }
  "$PROJECT/node_modules/node/bin/node" --version >> "$log" 2>&1 || { tail -n 1 "$log" >&2
    fail "the pinned Node does not start here. On Debian: apt-get install libatomic1"; }
  npm_packages_match || fail "npm install left something out; its output: $log. Try: rm -r node_modules && npm install"
  rm -f "$log"; }
