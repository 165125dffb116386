#!/usr/bin/env bash
# Meta-World asks for Gymnasium but not for its extra `mujoco`, whose parts it imports: installed by itself, together
# with the Gymnasium of today, it cannot be imported. With `gymnasium[mujoco]` beside it it can.
# Seen with metaworld 3.1.1, gymnasium 1.4.0 and mujoco 3.3.0:
#   as installed: ModuleNotFoundError: No module named 'packaging'
#   with gymnasium[mujoco]: 50 environments
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 "$@"; }
said() {
  "$folder/venv/bin/python" -W ignore -c 'import metaworld; print(len(metaworld.ALL_V3_ENVIRONMENTS), "environments")' 2>&1 | tail -n 1 || true
}
pip gymnasium==1.4.0
alone=$(said)
echo "as installed: $alone"
pip 'gymnasium[mujoco]==1.4.0'
with=$(said)
echo "with gymnasium[mujoco]: $with"
[[ $alone == "ModuleNotFoundError: No module named"* && $with == *environments ]] || { echo "it has changed"; exit 1; }
