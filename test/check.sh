#!/usr/bin/env bash
# npm run check: what every commit passes. Format, lint, types, import rules, dead code, and all tests that need
# neither time nor servers: units of code, contracts against the memory adapters, simulations.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=lab/setup.sh
. lab/setup.sh
# shellcheck source=test/parts.sh
. test/parts.sh

install_npm_packages
export FLEET_QUICK=1   # the largest properties look at fewer cases than in `npm test`
# A few processes instead of one per file, which `npm test` has: starting each would take longer than all of the tests.
for part in simulation core api client proxy other; do begin_tests "$part" "${part}_tests" 400 --test-isolation=none; done
begin_static_parts
join
[ "$FAILED" = 0 ] || exit 1
