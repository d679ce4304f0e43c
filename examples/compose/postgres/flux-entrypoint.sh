#!/bin/sh
# Starts the server of the official image with the settings that logical decoding by wal2json needs.
# Arguments are those of the image: `postgres` and its options; options given there win over ours.
set -eu

[ "${1:-postgres}" = postgres ] || exec docker-entrypoint.sh "$@"
[ $# -eq 0 ] || shift

# Minor releases since CVE-2026-6471 make slots only with the plugins on a list; older ones know no
# such setting and would refuse to start with it.
allow=
if postgres --describe-config | grep -q '^output_plugin_libraries'; then
    allow=output_plugin_libraries=pgoutput,test_decoding,wal2json
fi

# A capture that is down holds back WAL up to max_slot_wal_keep_size, then loses its slot: the
# database comes first.
exec docker-entrypoint.sh postgres \
    -c wal_level=logical \
    -c max_replication_slots=10 \
    -c max_wal_senders=10 \
    -c max_slot_wal_keep_size=4GB \
    ${allow:+-c "$allow"} \
    "$@"
