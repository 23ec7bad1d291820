#!/usr/bin/env bash
# Debian packages for machines of a lab only: downloads those named, with what they need and this host lacks, unpacks them (nothing is installed) and
# prints the folder, for LAB_MORE. Kept in a cache outside the project; a second run costs nothing.
#   packages.sh PACKAGE...
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fleet-ts/packages folder=$cache/$(printf '%s\n' "$@" | sort | md5sum | cut -c1-8)
fail() { printf 'packages: %s\n' "$*" >&2; exit 1; }

if [ ! -d "$folder" ]; then
  mkdir -p "$cache"; work=$(mktemp -d "$cache/.new-XXXXXX"); trap 'rm -rf "$work"' EXIT
  needed=$(apt-get -s --no-install-recommends install "$@" 2>"$work/log" | awk '/^Inst/ {print $2}') ||
    fail "apt does not know all of $* (apt-get update?): $(tail -n 1 "$work/log")"
  # shellcheck disable=SC2086
  [ -z "$needed" ] || (cd "$work" && apt-get -q -o Acquire::Retries=2 download $needed) >"$work/log" 2>&1 ||
    fail "cannot download $needed: $(tail -n 1 "$work/log")"
  mkdir -p "$work/tree/usr"
  for file in "$work"/*.deb; do [ ! -e "$file" ] || dpkg-deb -x "$file" "$work/tree"; done
  for d in bin sbin lib; do   # all below usr, as machines have it
    [ ! -d "$work/tree/$d" ] || { mkdir -p "$work/tree/usr/$d"; cp -a "$work/tree/$d/." "$work/tree/usr/$d/"; rm -rf "${work:?}/tree/$d"; }; done
  for name in iptables ip6tables; do   # made by update-alternatives where it is installed
    [ ! -e "$work/tree/usr/sbin/$name-nft" ] || ln -sf "$name-nft" "$work/tree/usr/sbin/$name"; done
  mv "$work/tree" "$folder"
fi
printf '%s\n' "$folder"
