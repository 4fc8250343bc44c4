#!/usr/bin/env bash
# Train on this machine, one process a GPU.  Usage: [RANKS=8] launch/local.sh CONFIG [key=value ...]
# SIGTERM, SIGUSR1 and SIGINT reach the ranks, which finish their step and save; then this ends with 75.
set -u
if [ $# -lt 1 ]; then
  echo "usage: [RANKS=N] launch/local.sh CONFIG [key=value ...]" >&2
  exit 2
fi
RANKS=${RANKS:-1}
python=${PYTHON:-python}
asked=0
stop() {
  asked=1
  # To the ranks themselves.  torchrun would end at once of SIGUSR1, and give ranks 30 s after SIGTERM.
  if [ "$RANKS" -gt 1 ]; then pkill -USR1 -P "$child"; else kill -USR1 "$child"; fi
}
trap stop USR1 TERM INT
if [ "$RANKS" -gt 1 ]; then
  # In a group of its own, so that ctrl-C arrives here alone.
  setsid "$python" -m torch.distributed.run --standalone --nproc-per-node="$RANKS" -m mmcontrast train "$@" &
else
  setsid "$python" -m mmcontrast train "$@" &
fi
child=$!
while true; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break  # a trapped signal ends `wait` early
done
# torchrun says 1 for every code of its ranks.
[ "$asked" -eq 1 ] && [ "$code" -ne 0 ] && exit 75
exit "$code"
