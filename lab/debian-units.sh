#!/usr/bin/env bash
# Unit files of Debian packages, as real input for the parser: downloads a fixed list of packages, unpacks only what
# they bring for systemd (nothing is installed), and prints the folder. Kept in a cache outside the project; a second
# run costs nothing. Without apt or network it says so and prints what the cache has, if anything.
set -euo pipefail
# Small packages with many units of many kinds.
PACKAGES="apache2 btrfsmaintenance chrony cloud-init cups-daemon drbd-utils gnome-settings-daemon-common
 gvfs-daemons libvirt-daemon-system lvm2 lxc mdadm network-manager nfs-common nfs-kernel-server open-iscsi
 openssh-server openvpn pcp plymouth postfix postgresql-common prometheus-node-exporter-collectors quota redis-server
 samba snapper sssd-common sysstat systemd-homed systemd-journal-remote systemd-oomd systemd-timesyncd tor unbound
 wireguard-tools"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fleet-ts/debian-units
say() { printf 'debian-units: %s\n' "$*" >&2; }

download() { # PACKAGE... into the current folder
  apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=10 download "$@" >/dev/null 2>&1; }

fetch() { # PACKAGE...; all at once, or else one by one: a release may lack one of them
  local work package file failed=''
  work=$(mktemp -d "$cache/.new-XXXXXX")
  (cd "$work" && download "$@") || for package; do
    (cd "$work" && download "$package") || failed+="$package "
    # Nothing at all came: no network. Do not wait for all the others.
    [ "$(wc -w <<< "$failed")" -lt 3 ] || [ -n "$(ls "$work")" ] || { failed="any package (is the network there?)"; break; }
  done
  [ -z "$failed" ] || say "cannot download $failed"
  for file in "$work"/*.deb; do
    [ -e "$file" ] || continue
    package=$(basename "${file%%_*}")
    mkdir "$work/$package"
    # tar complains of the pattern that a package has nothing for; most have one of the two.
    dpkg-deb --fsys-tarfile "$file" |
      tar -x -C "$work/$package" --wildcards './lib/systemd/*' './usr/lib/systemd/*' 2>/dev/null || true
    rm -rf "${cache:?}/$package" && mv "$work/$package" "$cache/$package"
  done
  rm -rf "$work"; }

mkdir -p "$cache"
missing=()
for package in $PACKAGES; do [ -d "$cache/$package" ] || missing+=("$package"); done
if [ ${#missing[@]} = 0 ]; then :
elif ! command -v apt-get >/dev/null; then say "no apt-get here: only this machine's own units"
elif ! timeout 10 apt-get -q --print-uris download "${missing[0]}" >/dev/null 2>&1; then
  say "apt does not know ${missing[0]} (apt-get update?): only this machine's own units"
else fetch "${missing[@]}"; fi
printf '%s\n' "$cache"
