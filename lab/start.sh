#!/bin/bash
# npm start: three machines with fleetd-ts and a real etcd on this host, some units on them, and what they look like.
# Again: only what is missing is done. `npm stop` takes everything down.
#   --etcd N         members of etcd (1)
#   --machines N     machines (3)
set -euo pipefail
# shellcheck source=lab/setup.sh
. "$(dirname "$(realpath "$0")")/setup.sh"
LAB=$PROJECT/lab/lab.sh FLEETCTL=$PROJECT/lab/fleetctl-ts
export LAB_DIR=${LAB_DIR:-$PROJECT/.lab}
etcd_count=1 machine_count=3

while [ $# -gt 0 ]; do case $1 in
  --etcd|--machines) [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || fail "$1 wants a number"
    [ "$1" = --etcd ] && etcd_count=$2 || machine_count=$2; shift 2;;
  *) fail "unknown option: $1 (there are --machines N and --etcd N)";;
esac; done
[ "$etcd_count" -le 9 ] || fail "--etcd: at most 9 members"

because=$(no_machines_because)
[ -z "$because" ] || fail "cannot start machines: $because"
install_debian_packages
install_npm_packages

step "booting $machine_count machines (state: ${LAB_DIR#"$PWD/"})"
"$LAB" up "$machine_count"
step "starting etcd and fleetd-ts"
"$LAB" etcd up "$etcd_count"
"$LAB" fleet all agent_ttl=15s

listed() { "$FLEETCTL" list-machines --no-legend 2>/dev/null | wc -l; }
deadline=$((SECONDS + 45)) seen=-1
until now=$(listed); [ "$now" -ge "$machine_count" ]; do
  [ "$now" = "$seen" ] || step "machines listed: $now of $machine_count"; seen=$now
  if [ $SECONDS -ge $deadline ]; then
    "$LAB" status >&2; "$LAB" journal 1 -u fleetd-ts -n 8 -o cat >&2 || true
    fail "only $now of $machine_count machines are listed after 45 s. Logs: lab/lab.sh journal 1 -u fleetd-ts (2, 3 likewise), $LAB_DIR/etcd/1/log"
  fi
  sleep 0.2
done
step "machines listed: $now of $machine_count"

# What a newcomer sees first: one unit placed anywhere, three instances of a template, one unit on every machine.
first=(hello.service web@red.service web@green.service web@blue.service global.service)
cd "$PROJECT/examples/units"
step "starting units: ${first[*]}"
"$FLEETCTL" start "${first[@]}" || fail "the units did not start; see above, and lab/fleetctl-ts list-units"

# Then services: a chain of units over two machines, whose application uses a database on the other without knowing where.
chain=(chain/kiosk*.service)
if [ "$machine_count" -ge 2 ]; then
  step "starting a chain over two machines: pull -> storage -> network -> database -> register | ambassador -> application"
  "$FLEETCTL" start "${chain[@]}" || fail "the chain did not start; see above, and lab/fleetctl-ts list-units"
fi

show() { printf '\n$ lab/fleetctl-ts %s\n' "$*"; "$FLEETCTL" "$@"; }
show list-machines
show list-units
[ "$machine_count" -lt 2 ] || show graph kiosk.service
cat <<END

The cluster is up (${SECONDS} s) and stays up. Try:
  lab/lab.sh kill m2                       pull the plug of a machine ...
  lab/fleetctl-ts list-units               ... and see its units move within 15 s
  lab/fleetctl-ts journal hello.service    what a unit says, wherever it runs
  lab/fleetctl-ts journal -f kiosk.service an application that never notices where its database is: kill that machine
  npm stop                                 take everything down
END
