#!/bin/bash
# npm stop: takes down what npm start brought up. No process, mount, bridge, namespace, cgroup or file stays behind.
set -euo pipefail
# shellcheck source=lab/setup.sh
. "$(dirname "$(realpath "$0")")/setup.sh"
export LAB_DIR=${LAB_DIR:-$PROJECT/.lab}
[ -d "$LAB_DIR" ] || { echo "nothing is up"; exit 0; }
[ "$(id -u)" = 0 ] || fail "stopping machines needs root"
"$PROJECT/lab/lab.sh" down
step "everything is down"
