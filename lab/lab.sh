#!/bin/bash
# lab.sh - a cluster of N machines on one host, for development and tests.
#
# A machine is a systemd-nspawn container with its own systemd (PID 1), D-Bus,
# journald, network address and cgroup. Its /usr is the host's, read-only; its
# /etc and /var are its own. So there is no image to build or to download: the
# host needs root and `apt-get install systemd-container dbus iproute2 procps`.
#
#   lab.sh up N            create and start m1..mN (those that run are left alone)
#   lab.sh down            stop and remove everything
#   lab.sh status          one line per machine
#   lab.sh start M         boot a machine that is off (its /etc and /var are kept)
#   lab.sh poweroff M      orderly shutdown
#   lab.sh kill M          pull the plug
#   lab.sh pause M | resume M      freeze / thaw every process of the machine
#   lab.sh partition M [PEER...]   cut M off from all, or from those peers only
#   lab.sh heal M          undo partition
#   lab.sh exec M CMD...   run a command in M as root (default: a shell)
#   lab.sh journal M [ARGS...]     journalctl on M's journal, from the host
#   lab.sh ip M            print M's address
#   lab.sh etcd ...        a registry for the machines: see etcd.sh
#   lab.sh fleet M|all [KEY=VALUE...]   write M's fleet.conf and (re)start its daemon: see fleet.sh
#   lab.sh sweep           take down labs of tests whose process is gone
#   lab.sh endpoint        print the API address of the first machine whose daemon answers
#
# M is a number or a name: 2 or m2. Settings come from the environment; those of the last `up` are remembered:
#   LAB_DIR   state directory                       (.lab in the project)
#   LAB_NET   first three bytes of the /24          (the first free one of 10.77.0, 10.77.1, ...)
#   LAB_APP   directory to show as /opt/app, read-only   (the project)
#   LAB_NODE  node binary to show as /opt/node/bin/node  (the project's, else node from PATH)
#   LAB_BASE  tree whose /usr and /etc to use       (/; or a debootstrap tree)
#   LAB_MORE  folder of more packages for the machines, see packages.sh
#   LAB_ARGS  more arguments for systemd-nspawn
set -euo pipefail; shopt -s inherit_errexit
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HERE=$(dirname "$(realpath "$0")") PROJECT=$(dirname "$(dirname "$(realpath "$0")")")
LAB_DIR=$(realpath -m "${LAB_DIR:-$PROJECT/.lab}")
# shellcheck disable=SC1091
[ ! -e "$LAB_DIR/settings" ] || . "$LAB_DIR/settings"   # those of the last up, unless given anew
LAB_NET=${LAB_NET:-} LAB_BASE=${LAB_BASE:-/} LAB_APP=${LAB_APP:-$PROJECT} LAB_MORE=${LAB_MORE:-} LAB_ARGS=${LAB_ARGS:-}
LAB_NODE=${LAB_NODE:-$PROJECT/node_modules/node/bin/node}; [ -x "$LAB_NODE" ] || LAB_NODE=$(command -v node || true)
TAG=lab$(printf %s "$LAB_DIR" | md5sum | cut -c1-4)     # names all that is ours on the host
BASE=${LAB_BASE%/}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
num() { [[ ${1:-} =~ ^m?([1-9][0-9]{0,2})$ && ${BASH_REMATCH[1]} -lt 250 ]] || die "no such machine: '${1:-}'"
        echo "${BASH_REMATCH[1]}"; }
machine() { local i; i=$(num "${1:-}"); [ -d "$LAB_DIR/m$i" ] || die "no such machine: m$i"; echo "$i"; }
machines() { local d; for d in "$LAB_DIR"/m[1-9]*; do [ -d "$d" ] && echo "${d##*/m}"; done | sort -n; }
ip_of() { echo "$LAB_NET.$((10 + $1))"; }
on_systemd() { [ -d /run/systemd/system ]; }

# The pid of a machine's nspawn and that of its PID 1, if they run.
supervisor() {
  local pid start; [ -s "$LAB_DIR/m$1/pid" ] || return 1; read -r pid start < "$LAB_DIR/m$1/pid"
  [ "$(stat_start "$pid")" = "$start" ] && echo "$pid"
}
stat_start() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }
leader() {
  local pid child; pid=$(supervisor "$1") || return 1
  for child in $(cat "/proc/$pid/task/$pid/children"); do
    [ "$(awk '/^NSpid:/ {print $NF}' "/proc/$child/status" 2>/dev/null)" = 1 ] && echo "$child" && return
  done; return 1
}
inside() { local pid; pid=$(leader "$1") || die "m$1 is off"; shift
  nsenter -t "$pid" -m -u -i -n -p -C -r -w -- env -i "TERM=${TERM:-dumb}" HOME=/root USER=root LANG=C.UTF-8 \
    PATH=/opt/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin "$@"; }

# ---- network: one bridge, one named network namespace and one veth pair per machine
net_up() { # chosen and taken under a lock, since another lab may be doing the same
  ip link show "$TAG" >/dev/null 2>&1 && return
  local used k; exec 8< "$(command -v systemd-nspawn)"; flock 8
  used=$(ip -o -4 addr; ip -4 route)
  for k in $(seq 0 255); do [ -z "$LAB_NET" ] || break; [[ $used == *[[:space:]]10.77.$k.* ]] || LAB_NET=10.77.$k; done
  [ -n "$LAB_NET" ] || die "no free network in 10.77.0.0/16: say LAB_NET=10.X.Y"
  ip link add "$TAG" type bridge && ip addr add "$LAB_NET.1/24" dev "$TAG" && ip link set "$TAG" up
  exec 8<&-
}
net_machine() {
  local ns=$TAG-m$1; [ -z "$(ip -n "$ns" route show default 2>/dev/null || true)" ] || return 0
  ip netns del "$ns" 2>/dev/null || true; ip link del "$TAG-$1" 2>/dev/null || true   # half made
  [ -d /run/netns ] || touch "$LAB_DIR/made-netns"
  ip netns add "$ns" && ip -n "$ns" link set lo up
  ip link add "$TAG-$1" type veth peer name host0 netns "$ns"
  ip link set "$TAG-$1" master "$TAG" up
  ip -n "$ns" addr add "$(ip_of "$1")/24" dev host0 && ip -n "$ns" link set host0 up
  ip -n "$ns" route add default via "$LAB_NET.1"
}

# ---- cgroups: each machine needs a subtree of its own. Under systemd a scope with
# Delegate= gives one; without it, make it by hand in every tree nspawn delegates.
cgroup_trees() { local d
  if [ -e /sys/fs/cgroup/cgroup.procs ]; then echo /sys/fs/cgroup; return; fi
  for d in systemd unified cpuacct; do [ -e "/sys/fs/cgroup/$d/cgroup.procs" ] && echo "/sys/fs/cgroup/$d"; done; }
cgroup_enter() { local d c
  for d in $(cgroup_trees); do
    mkdir -p "$d/$TAG/m$1"
    if [ -e "$d/cgroup.subtree_control" ]; then for c in $(cat "$d/cgroup.controllers"); do
      echo "+$c" 2>/dev/null > "$d/cgroup.subtree_control" && echo "+$c" 2>/dev/null > "$d/$TAG/cgroup.subtree_control" || true
    done; fi
    echo 0 > "$d/$TAG/m$1/cgroup.procs"
  done; }
cgroup_remove() { local d
  for d in $(cgroup_trees); do [ -d "$d/$TAG${1:+/m$1}" ] || continue
    find "$d/$TAG${1:+/m$1}" -depth -type d -exec rmdir {} + 2>/dev/null || true; done; }
cgroup_of_payload() { # the v2 cgroup that holds all of the machine
  local path; path=$(sed -n 's/^0:://p' "/proc/$(leader "$1")/cgroup"); path=${path%/payload*}
  if [ -e /sys/fs/cgroup/cgroup.procs ]; then echo "/sys/fs/cgroup$path/payload"; else echo "/sys/fs/cgroup/unified$path/payload"; fi; }

# ---- life of a machine
boot() {
  supervisor "$1" >/dev/null && return
  net_machine "$1"; tree "$1"; rm -f "$LAB_DIR/m$1/pid"
  local scope=() args=(--quiet --boot --register=no --keep-unit --console=pipe --link-journal=no --resolv-conf=off
    --timezone=off "--machine=$TAG-m$1" "--hostname=m$1" "--directory=$LAB_DIR/m$1/root"
    --capability=CAP_NET_ADMIN "--network-namespace-path=/run/netns/$TAG-m$1" "--bind-ro=$BASE/usr:/usr")
  [ -z "$LAB_APP" ] || args+=("--bind-ro=$(realpath "$LAB_APP"):/opt/app")
  [ -z "$LAB_NODE" ] || args+=("--bind-ro=$(realpath "$LAB_NODE"):/opt/node/bin/node")
  [ -z "$LAB_MORE" ] || args+=("--overlay-ro=$BASE/usr:$LAB_MORE/usr:/usr")
  on_systemd && scope=(systemd-run --quiet --collect --scope "--unit=$TAG-m$1" -p Delegate=yes -p TasksMax=infinity --)
  ( on_systemd || cgroup_enter "$1"
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1        # cgroup v2; nspawn cannot tell from an empty usr/
    export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network   # its /proc/sys/net is its own
    exec 0</dev/null >> "$LAB_DIR/m$1/console.log" 2>&1 9>&-
    # shellcheck disable=SC2086
    exec setsid "${scope[@]}" systemd-nspawn "${args[@]}" $LAB_ARGS ) &
  echo "$! $(stat_start $!)" > "$LAB_DIR/m$1/pid"; disown
}
wait_ready() { # until what units rest on is there; daemons that start at boot may still be starting
  local i; for i in $(seq 600); do
    if [ -S "/proc/$(leader "$1" || echo 0)/root/run/systemd/private" ]; then
      inside "$1" systemctl is-active --quiet basic.target 2>/dev/null && return; fi
    supervisor "$1" >/dev/null || break; sleep 0.05
  done; tail -5 "$LAB_DIR/m$1/console.log" >&2; die "m$1 did not boot"
}
gone() { local end=$((SECONDS + $2)); while supervisor "$1" >/dev/null; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done; }
off() { # nspawn that was killed leaves a lock and a directory behind
  rm -f "$LAB_DIR/m$1/pid" "/run/systemd/nspawn/locks/$(stat -c 'inode-%d:%i' "$LAB_DIR/m$1/root")"
  rmdir "/run/systemd/nspawn/propagate/$TAG-m$1" 2>/dev/null || true; cgroup_remove "$1"; }
plug() { local s l; s=$(supervisor "$1") || { off "$1"; return 0; }; l=$(leader "$1" || true); thaw "$1"
  # shellcheck disable=SC2086
  kill -KILL $s $l 2>/dev/null || true; gone "$1" 30 || die "m$1 will not die"; off "$1"; }
thaw() { local c; c=$(cgroup_of_payload "$1" 2>/dev/null) && [ -e "$c/cgroup.freeze" ] && echo 0 > "$c/cgroup.freeze" || true; }

cmd_up() {
  local n i old want; n=$(num "${1:-3}"); mkdir -p "$LAB_DIR"; net_up
  # shellcheck disable=SC2016
  for i in LAB_NET LAB_BASE LAB_APP LAB_NODE LAB_MORE LAB_ARGS; do printf '%s=${%s-%q}\n' $i $i "${!i}"; done > "$LAB_DIR/settings"
  old=$(sysctl -n fs.inotify.max_user_instances) want=$((12 * n))
  if [ "$old" -lt $want ]; then     # an idle machine uses 5 of them
    [ -e "$LAB_DIR/inotify" ] || echo "$old" > "$LAB_DIR/inotify"; sysctl -qw "fs.inotify.max_user_instances=$want"; fi
  for i in $(seq "$n"); do boot "$i"; done; for i in $(seq "$n"); do wait_ready "$i"; done
}
cmd_down() {
  local i ns d; [ -d "$LAB_DIR" ] || [ -e "/sys/class/net/$TAG" ] || return 0
  etcd_down; for i in $(machines); do plug "$i" & done; wait
  for ns in /run/netns/"$TAG"-m*; do [ -e "$ns" ] && ip netns del "${ns##*/}"; done
  for i in $(machines); do ip link del "$TAG-$i" 2>/dev/null || true; done
  ip link del "$TAG" 2>/dev/null || true; cgroup_remove
  if [ -e "$LAB_DIR/made-netns" ] && [ -z "$(ls /run/netns)" ]; then umount -q /run/netns || true; rmdir /run/netns || true; fi
  [ ! -e "$LAB_DIR/inotify" ] || sysctl -qw "fs.inotify.max_user_instances=$(cat "$LAB_DIR/inotify")"
  rm -rf --one-file-system "$LAB_DIR"
}
cmd_sweep() { local d pid; for d in /var/tmp/fleet-ts-lab.*; do   # fleet-ts-lab.PID.RANDOM
  pid=${d#*lab.}; [ ! -d "$d" ] || [ -d "/proc/${pid%%.*}" ] || LAB_DIR=$d "$0" down; done; }
cmd_status() { local i l s; for i in $(machines); do
  if l=$(leader "$i"); then s=$(inside "$i" timeout 2 systemctl is-system-running 2>/dev/null || true); else s=off; fi
  printf '%-5s %-12s %-10s %s\n' "m$i" "$(ip_of "$i")" "${s:-paused}" "${l:-}"; done; }
cmd_start() { local i; i=$(machine "${1:-}"); boot "$i"; wait_ready "$i"; }
cmd_poweroff() { local i l; i=$(machine "${1:-}"); l=$(leader "$i") || { off "$i"; return; }
  kill -s RTMIN+4 "$l"; gone "$i" 90 || { plug "$i"; die "m$i did not stop in 90 s; its plug was pulled"; }; off "$i"; }
cmd_kill() { local i; i=$(machine "${1:-}"); plug "$i"; }
cmd_pause() { local i c; i=$(machine "${1:-}"); c=$(cgroup_of_payload "$i"); echo 1 > "$c/cgroup.freeze"; }
cmd_resume() { local i; i=$(machine "${1:-}"); thaw "$i"; }
cmd_partition() { local i j; i=$(machine "${1:-}"); shift
  [ $# -gt 0 ] || { ip link set "$TAG-$i" down; return; }
  for j; do j=$(machine "$j"); ip -n "$TAG-m$i" route replace blackhole "$(ip_of "$j")/32"
    ip -n "$TAG-m$j" route replace blackhole "$(ip_of "$i")/32"; done; }
cmd_heal() { local i j; i=$(machine "${1:-}"); ip link set "$TAG-$i" up
  for j in $(machines); do ip -n "$TAG-m$i" route del blackhole "$(ip_of "$j")/32" 2>/dev/null || true
    ip -n "$TAG-m$j" route del blackhole "$(ip_of "$i")/32" 2>/dev/null || true; done; }
cmd_exec() { local i; i=$(machine "${1:-}"); shift; [ $# -gt 0 ] || set -- bash -l; inside "$i" "$@"; }
cmd_journal() { local i; i=$(machine "${1:-}"); shift; journalctl -D "$LAB_DIR/m$i/root/var/log/journal" "$@"; }
cmd_ip() { ip_of "$(num "${1:-}")"; }

# shellcheck source=lab/tree.sh
. "$HERE/tree.sh"
# shellcheck source=lab/etcd.sh
. "$HERE/etcd.sh"
# shellcheck source=lab/fleet.sh
. "$HERE/fleet.sh"

if [ "${1:-}" = endpoint ]; then cmd_endpoint; exit; fi   # the one that needs no rights

[ "$(id -u)" = 0 ] || die "needs root"
command -v systemd-nspawn >/dev/null || die "needs systemd-nspawn: apt-get install systemd-container dbus"
[ -e "$BASE/usr/bin/dbus-daemon" ] || [ -e "$BASE/usr/bin/dbus-broker" ] || die "needs dbus in $BASE/usr"
case ${1:-} in
  up|down|start|poweroff|kill|etcd|fleet) mkdir -p "$LAB_DIR"; exec 9< "$LAB_DIR"; flock 9; "cmd_$1" "${@:2}";;   # one at a time
  sweep|status|pause|resume|partition|heal|exec|journal|ip) "cmd_$1" "${@:2}";;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2;;
esac
