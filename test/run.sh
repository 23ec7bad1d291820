#!/usr/bin/env bash
# npm test: everything, on a clean checkout too. Sets up what it needs; ends with a line "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=lab/setup.sh
. lab/setup.sh
# shellcheck source=test/parts.sh
. test/parts.sh

DEBIAN_PACKAGES+=" $TEST_PACKAGES"
because=$(no_machines_because)
[ -n "$because" ] || install_debian_packages
install_npm_packages

begin_static_parts
without vagrant "validation of the Vagrantfile" || begin vagrantfile \
  env "VAGRANT_DOTFILE_PATH=$LOGS/.vagrant" "VAGRANT_HOME=$LOGS/.vagrant.d" vagrant validate --ignore-provider
join
begin_tests tests fast_tests 400 --test-concurrency=2
join
# Servers and machines of their own: more than two files at a time would only wait for one another. Some tests take minutes by what they
# try, more of them on a slow machine.
begin_tests servers real_tests 900 --test-concurrency=1 --test-timeout=600000
[ ! -e test/simulation/main.ts ] || begin simulation timeout --kill-after=10 900 node test/simulation/main.ts --runs 1000
join
if [ -z "$because" ]; then
  begin_tests machines lab_tests 2400 --test-concurrency=2 --test-timeout=600000
  join
  lab/lab.sh sweep
else
  printf 'left out: %s files of tests on real machines, because %s\n' "$(lab_tests | wc -l)" "$because"
fi

[ $((PASSED + FAILED)) -gt 0 ] || echo "no test ran"
printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
