# shellcheck shell=bash
# fleetd-ts on the machines of a lab. Part of lab.sh.
#
# The daemon runs from the sources (/opt/app; LAB_DAEMON names another file) under the unit that installs use, with a drop-in that changes what is
# executed. Its API listens on TCP without TLS: the bridge reaches no farther than this host.
# shellcheck disable=SC2154  # LAB_DIR, PROJECT and LAB_APP are lab.sh's
API_PORT=49153

# GET http://HOST:PORT/PATH within SECONDS; prints headers and body, nothing when it does not answer.
http_get() {
  # shellcheck disable=SC2016
  timeout "$4" bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET %s HTTP/1.0\r\nHost: %s:%s\r\n\r\n" "$2" "$0" "$1" >&3 && cat <&3' \
    "$1" "$2" "$3" 2>/dev/null || true; }

# fleet.conf of a machine: the lab's settings, each of which a KEY=VALUE argument replaces. `KEY=` leaves it out.
fleet_conf() {
  local key urls arg; local -A conf=([listen]="0.0.0.0:$API_PORT" [insecure]=true)
  urls=$(etcd_urls)
  if [ -n "$urls" ]; then conf[registry]=etcd conf[etcd_servers]=$urls; else conf[registry]=embedded; fi
  for arg; do [[ $arg == *=* ]] || die "not a KEY=VALUE: $arg"; conf[${arg%%=*}]=${arg#*=}; done
  for key in $(printf '%s\n' "${!conf[@]}" | sort); do [ -z "${conf[$key]}" ] || echo "$key=${conf[$key]}"; done; }

# Heaps that stay small: a daemon idles most of its life, and its machine has better uses for 100 MB.
NODE_FLAGS='--max-semi-space-size=1 --optimize-for-size --v8-pool-size=1'

# The programs that units run: `ExecStart=fleet-sidekick ...` finds them as it would in /usr/bin.
PROGRAMS="fleet-sidekick=sidekick fleet-ambassador=ambassador fleetctl-ts=cli"
programs_install() { # M
  local root=$LAB_DIR/m$1/root pair separator; mkdir -p "$root/opt/fleet/bin" "$root/etc/systemd/system/service.d"
  printf '[Service]\nExecSearchPath=/opt/fleet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n' > "$root/etc/systemd/system/service.d/lab.conf"
  for pair in $PROGRAMS; do separator=--; [ "${pair#*=}" != cli ] || separator=
    printf '%s\n' '#!/bin/sh' 'export NODE_COMPILE_CACHE=/var/cache/node' \
      "exec /opt/node/bin/node $NODE_FLAGS /opt/app/src/${pair#*=}/main.ts $separator \"\$@\"" > "$root/opt/fleet/bin/${pair%%=*}"
    chmod 755 "$root/opt/fleet/bin/${pair%%=*}"; done; }

fleet_install() { # M [KEY=VALUE...]; prints whether anything is different now
  programs_install "$1"
  local etc=$LAB_DIR/m$1/root/etc new; new=$(fleet_conf "${@:2}")
  mkdir -p "$etc/fleet" "$etc/systemd/system/"{fleetd-ts.service.d,multi-user.target.wants}
  cp "$LAB_APP/systemd/fleetd-ts.service" "$etc/systemd/system/"
  ln -sfn ../fleetd-ts.service "$etc/systemd/system/multi-user.target.wants/fleetd-ts.service"
  printf '%s\n' '[Service]' 'ExecStart=' "ExecStart=/opt/node/bin/node $NODE_FLAGS ${LAB_DAEMON:-/opt/app/src/daemon/main.ts}" \
    > "$etc/systemd/system/fleetd-ts.service.d/lab.conf"
  [ "$new" = "$(cat "$etc/fleet/fleet.conf" 2>/dev/null || true)" ] || { echo "$new" > "$etc/fleet/fleet.conf"; echo changed; }; }

cmd_fleet() { # does not wait until the daemon is ready; one that runs with the same settings is left alone
  local i all changed verb; [ "${1:-}" = all ] && all=$(machines) || all=$(machine "${1:-}")
  for i in $all; do changed=$(fleet_install "$i" "${@:2}"); verb=start; [ -z "$changed" ] || verb=restart
    leader "$i" >/dev/null || continue   # it is off: starts with the machine
    { inside "$i" systemctl daemon-reload && inside "$i" systemctl --no-block "$verb" fleetd-ts; } &
  done; wait; }

cmd_endpoint() { local i
  for i in $(machines); do
    supervisor "$i" >/dev/null || continue
    if [[ $(http_get "$(ip_of "$i")" "$API_PORT" /fleet/v2/cluster 0.7) == HTTP/1.* ]]; then
      echo "http://$(ip_of "$i"):$API_PORT"; return; fi
  done; die "no machine of the lab answers (state: $LAB_DIR). Is it up? lab/lab.sh status; npm start"; }
