#!/usr/bin/env bash
# All tiers this machine can run. Tests without a lab run beside each other; those with one run alone, after them.
# Arguments are passed to pytest (a path, -k ...), then everything runs in one go.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then exec .venv/bin/python -m pytest "$@"; fi
status=0
.venv/bin/python -m pytest -q -n 2 -m 'not lab' || status=$?
.venv/bin/python -m pytest -q -m lab || status=$?
exit $status
