# shellcheck shell=bash
# The registry of a lab: real etcd. Part of lab.sh.
#
#   lab.sh etcd up [N]       N members (1) as plain processes of the host, on the bridge: LAB_NET.1, .2, ...
#   lab.sh etcd machines N   members as lab-etcd.service inside m1..mN, so that they die and are cut off with them
#   lab.sh etcd urls         client URLs of all members, separated by commas
#   lab.sh etcd stop|start|kill|pause|resume [K]   member K of the host (all)
#   lab.sh etcd wipe         lose all data: stop, delete, start empty
#   lab.sh etcd ctl ARGS...  etcdctl, v3, all members
#   lab.sh etcd down         stop and delete
#
# shellcheck disable=SC2154  # LAB_DIR, LAB_NET and TAG are lab.sh's

etcd_members() { local d; for d in "$LAB_DIR"/etcd/[1-9]; do [ -d "$d" ] && echo "${d##*/}"; done; }
etcd_pid() { local pid start; [ -s "$LAB_DIR/etcd/$1/pid" ] || return 1; read -r pid start < "$LAB_DIR/etcd/$1/pid"
  [ "$(stat_start "$pid")" = "$start" ] && echo "$pid"; }
etcd_ready() { [[ $(http_get "$1" 2379 /health 0.5) == *'"health":"true"'* ]]; }
etcd_urls() { local i urls=
  for i in $(etcd_members); do urls+=",http://$LAB_NET.$i:2379"; done
  if [ -e "$LAB_DIR/etcd/in-machines" ]; then
    for i in $(seq "$(cat "$LAB_DIR/etcd/in-machines")"); do urls+=",http://$(ip_of "$i"):2379"; done; fi
  echo "${urls#,}"; }

# Arguments of one member. etcd_flags NAME ADDRESS DATA_DIR INITIAL_CLUSTER
etcd_flags() { printf '%s\n' --name "$1" --data-dir "$3" --initial-cluster "$4" --initial-cluster-token "$TAG" \
  --listen-client-urls "http://$2:2379" --advertise-client-urls "http://$2:2379" \
  --listen-peer-urls "http://$2:2380" --initial-advertise-peer-urls "http://$2:2380" \
  --auto-compaction-mode periodic --auto-compaction-retention 1h --logger zap --log-level warn; }

etcd_launch() { # member K of the host; its peers may not be up yet
  local i cluster='' flags dir=$LAB_DIR/etcd/$1
  etcd_pid "$1" >/dev/null && return
  for i in $(etcd_members); do cluster+=",lab$i=http://$LAB_NET.$i:2380"; done
  mapfile -t flags < <(etcd_flags "lab$1" "$LAB_NET.$1" "$dir/data" "${cluster#,}")
  ( exec 0</dev/null >> "$dir/log" 2>&1 9>&-; exec setsid etcd "${flags[@]}" ) &
  echo "$! $(stat_start $!)" > "$dir/pid"; disown
}
etcd_wait() { # ADDRESS... until every one serves
  local a i; for a; do
    for i in $(seq 200); do etcd_ready "$a" && continue 2; sleep 0.05; done
    die "etcd at $a does not serve; its log: $LAB_DIR/etcd/*/log or 'lab.sh journal M -u lab-etcd'"
  done; }
etcd_signal() { local k pid; for k in ${2:-$(etcd_members)}; do
  pid=$(etcd_pid "$k") && kill -s "$1" "$pid" || true; done; }
etcd_end() { # SIGNAL [K]: ends members, thawed first so that they can
  local k i; etcd_signal "$1" "${2:-}"; etcd_signal CONT "${2:-}"
  for k in ${2:-$(etcd_members)}; do
    for i in $(seq 100); do etcd_pid "$k" >/dev/null || continue 2; sleep 0.05; done; etcd_signal KILL "$k"
  done; }
etcd_begin() { local k; for k in ${1:-$(etcd_members)}; do etcd_launch "$k"; done
  # A member alone of three cannot serve: wait only where all were asked for.
  # shellcheck disable=SC2046
  [ -n "${1:-}" ] || etcd_wait $(etcd_members | sed "s/^/$LAB_NET./"); }
etcd_down() { [ -d "$LAB_DIR/etcd" ] || return 0; etcd_end KILL; rm -rf "$LAB_DIR/etcd"; }

etcd_up() { local k
  ip link show "$TAG" >/dev/null 2>&1 || die "no machines yet: lab.sh up N"
  for k in $(seq "${1:-1}"); do mkdir -p "$LAB_DIR/etcd/$k"
    [ "$k" = 1 ] || ip addr replace "$LAB_NET.$k/24" dev "$TAG"; done
  etcd_begin; }
etcd_machines() { local i cluster='' root all=()
  mkdir -p "$LAB_DIR/etcd"; echo "$1" > "$LAB_DIR/etcd/in-machines"
  for i in $(seq "$1"); do cluster+=",m$i=http://$(ip_of "$i"):2380"; all+=("$(ip_of "$i")"); done
  for i in $(seq "$1"); do root=$LAB_DIR/m$i/root; mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    # Not `etcd.service`: /usr is the host's and brings one of that name.
    printf '%s\n' '[Unit]' 'Description=etcd of the lab' '[Service]' 'Type=notify' 'Restart=always' 'StateDirectory=lab-etcd' \
      "ExecStart=/usr/bin/etcd $(etcd_flags "m$i" "$(ip_of "$i")" /var/lib/lab-etcd "${cluster#,}" | tr '\n' ' ')" \
      '[Install]' 'WantedBy=multi-user.target' > "$root/etc/systemd/system/lab-etcd.service"
    ln -sfn ../lab-etcd.service "$root/etc/systemd/system/multi-user.target.wants/lab-etcd.service"
    inside "$i" systemctl daemon-reload; inside "$i" systemctl start --no-block lab-etcd; done
  etcd_wait "${all[@]}"; }

cmd_etcd() {
  command -v etcd >/dev/null || die "needs etcd: apt-get install etcd-server etcd-client"
  case ${1:-} in
    up) etcd_up "${2:-1}";;
    machines) etcd_machines "${2:?how many}";;
    urls) etcd_urls;;
    ctl) ETCDCTL_API=3 etcdctl --endpoints "$(etcd_urls)" "${@:2}" 9<&-;;
    stop) etcd_end TERM "${2:-}";;
    kill) etcd_end KILL "${2:-}";;
    start) etcd_begin "${2:-}";;
    pause) etcd_signal STOP "${2:-}";;
    resume) etcd_signal CONT "${2:-}";;
    wipe) etcd_end KILL; rm -rf "$LAB_DIR"/etcd/[1-9]/data; etcd_begin;;
    down) etcd_down;;
    *) die "etcd up|machines|urls|stop|start|kill|pause|resume|wipe|ctl|down";;
  esac; }
