#!/usr/bin/env bash
# Train in one process; go on after a requested stop.  Usage: launch/local.sh CONFIG [key=value ...]
set -u
if [ $# -lt 1 ]; then
  echo "usage: launch/local.sh CONFIG [key=value ...]" >&2
  exit 2
fi
while true; do
  mmcontrast train "$@"
  code=$?
  # 75: stopped by SIGTERM or SIGUSR1 and saved.
  [ "$code" -eq 75 ] || exit "$code"
  echo "resuming after a requested stop" >&2
done
