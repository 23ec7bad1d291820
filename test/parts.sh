# shellcheck shell=bash
# Runs the parts of a check side by side: a line each with its time, all of its output only where it failed.
# Sourced by check.sh and run.sh.
LOGS=$(mktemp -d) PASSED=0 FAILED=0
declare -A PART_PID PART_BEGAN PART_IS_TEST
BIN=$PROJECT/node_modules/.bin
export PATH=$BIN:$PATH NO_COLOR=1; unset FORCE_COLOR NODE_TEST_CONTEXT
# Types are stripped once per file and change, not once per test process.
export NODE_COMPILE_CACHE=$PROJECT/node_modules/.cache/node

end_parts() { local name; for name in "${!PART_PID[@]}"; do kill -TERM -- "-${PART_PID[$name]}" 2>/dev/null || true; done
  wait; rm -rf "$LOGS"; }
trap end_parts EXIT
trap 'exit 130' INT TERM

begin() { # NAME COMMAND...; in a process group of its own, so that all of it can be ended
  local name=$1; shift; set -m
  { local code=0; "$@" || code=$?; echo $code > "$LOGS/$name.status"; } > "$LOGS/$name" 2>&1 </dev/null &
  set +m; PART_PID[$name]=$! PART_BEGAN[$name]=$EPOCHREALTIME; }

join() { # until every part that was begun has ended
  local name
  while [ ${#PART_PID[@]} -gt 0 ]; do
    for name in "${!PART_PID[@]}"; do
      if [ -s "$LOGS/$name.status" ]; then report "$name" "$(cat "$LOGS/$name.status")" "${PART_BEGAN[$name]}"
      elif kill -0 "${PART_PID[$name]}" 2>/dev/null; then continue
      elif [ ! -s "$LOGS/$name.status" ]; then report "$name" killed "${PART_BEGAN[$name]}"
      else continue; fi
      unset "PART_PID[$name]"
    done; sleep 0.05
  done; }

# The last "ℹ KIND N" of node's spec reporter.
counted() { sed -n "s/^ℹ $2 \([0-9]*\)$/\1/p" "$LOGS/$1" | tail -n 1; }
report() {
  local name=$1 code=$2 seconds passed failed=0 note='' late=''
  seconds=$(printf '%s %s' "$EPOCHREALTIME" "$3" | LC_ALL=C awk '{printf "%.1f", $1 - $2}')
  [ "$code" != 124 ] || late=', not done in time'
  passed=$(counted "$name" pass)
  if [ -n "$passed" ]; then
    # Skipped tests count as failed: what cannot run here has to say so by not being started at all.
    failed=$(($(counted "$name" fail) + $(counted "$name" cancelled) + $(counted "$name" skipped)))
    note="$passed passed"; [ $failed = 0 ] || { note+=", $failed failed"; code=1; }
  fi
  if [ -n "${PART_IS_TEST[$name]:-}" ] && [ $((${passed:-0} + failed)) = 0 ]; then note="no test ran" code=1; fi
  [ "$code" = 0 ] || [ $failed -gt 0 ] || failed=1
  PASSED=$((PASSED + ${passed:-0})) FAILED=$((FAILED + failed))
  if [ "$code" = 0 ]; then printf 'ok    %-12s %6s s  %s\n' "$name" "$seconds" "$note"; return; fi
  printf 'FAIL  %-12s %6s s  %s\n' "$name" "$seconds" "${note:-exit status $code}$late"
  show_failure "$name" | sed 's/^/      /'; }
show_failure() { # of a test run: the failing tests, or everything where it ended before it could name them
  if grep -q '^✖ failing tests:' "$LOGS/$1"; then sed -n '/^✖ failing tests:/,$p' "$LOGS/$1"; else cat "$LOGS/$1"; fi; }

# The kinds of tests, as files. Names tell the kind: see CONTRIBUTING.md.
# shellcheck disable=SC2034  # used by those who source this
{
  fast_tests() { find test -name '*.test.ts' ! -name '*.real.test.ts' ! -name '*.lab.test.ts' | sort; }
  # The same in parts that take about as long as one another: what computes, and what waits for sockets and processes.
  simulation_tests() { fast_tests | grep -E "^test/simulation/"; }
  core_tests() { fast_tests | grep -E "^test/(cluster|contract|engine|fuzz|registry|units)/"; }
  api_tests() { fast_tests | grep -E "^test/(agent|api|sync)/"; }
  client_tests() { fast_tests | grep -E "^test/cli/"; }
  proxy_tests() { fast_tests | grep -E "^test/ambassador/"; }
  other_tests() { fast_tests | grep -vE "^test/(agent|ambassador|api|cli|cluster|contract|engine|fuzz|registry|simulation|sync|units)/"; }
  real_tests() { find test -name '*.real.test.ts' | sort; }
  lab_tests() { find test -name '*.lab.test.ts' | sort; }
}
# NAME FILES_FUNCTION SECONDS NODE_OPTIONS...; nothing where there are no such files. SECONDS is for all of them together:
# a test file whose process does not end would otherwise hold up everything.
begin_tests() {
  local files; mapfile -t files < <("$2"); [ ${#files[@]} -gt 0 ] || return 0
  PART_IS_TEST[$1]=yes
  begin "$1" timeout --kill-after=10 "$3" node --import ./test/support/fixed-seed.ts --test --test-reporter=spec --test-timeout=120000 "${@:4}" "${files[@]}"; }

# Tests have the say where there is a choice: they wait in between, and these only compute.
begin_static_parts() {
  begin format+lint nice biome ci --colors=off --error-on-warnings .
  begin types nice tsc --noEmit --incremental --tsBuildInfoFile node_modules/.cache/types
  begin imports nice depcruise --config .dependency-cruiser.cjs src test lab bench build
  begin deadcode nice knip --no-config-hints
  begin scripts bash -c 'for file; do bash -n "$file" || exit 1; done' bash "${SCRIPTS[@]}"
  without shellcheck "a linter's findings in shell scripts" || begin shellcheck nice shellcheck -x "${SCRIPTS[@]}"; }
SCRIPTS=(lab/lab.sh lab/debian-units.sh lab/start.sh lab/stop.sh lab/fleetctl-ts test/run.sh test/check.sh .ci/run)   # and what they source

# Says what is left out for want of a program that not everybody has; false where it is there.
without() { ! command -v "$1" >/dev/null || return 1
  printf 'left out: %s, because %s is not installed\n' "$2" "$1"; }
