#!/usr/bin/env bash
# Train on the hosts of a DeepSpeed hostfile ("name slots=8", one a line), over ssh without SLURM.
# Usage: launch/deepspeed.sh HOSTFILE CONFIG [key=value ...]
set -eu
if [ $# -lt 2 ]; then
  echo "usage: launch/deepspeed.sh HOSTFILE CONFIG [key=value ...]" >&2
  exit 2
fi
hostfile=$1
shift
# The launcher sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; any engine reads them.
exec deepspeed --hostfile "$hostfile" --no_local_rank --module mmcontrast train "$@"
