#!/bin/sh
# Prepares the database that PG* and FLUX_* name, then captures it. Every step may be run again.
set -eu

flux init --plugin "${FLUX_PLUGIN:-auto}" --source "${FLUX_SOURCE:-$PGDATABASE}"
flux track --all --rollbacks
exec flux up --port "${FLUX_HEALTH_PORT:-9187}"
