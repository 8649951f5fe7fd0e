#!/bin/sh
# Workflows that failed, with the plain NATS command line (nats, from github.com/nats-io/natscli): those of the last
# hour first, then live ones.
# Of a local cluster the address is `nats.url` in its cluster.json (docs/events.md, "Where NATS listens").
# Usage: examples/events/subscribe.sh [NATS_URL [NAMESPACE [FLAG…]]]
set -eu
url=${1:-nats://127.0.0.1:4222}
namespace=${2:-*}
[ $# -lt 2 ] && shift $# || shift 2
exec nats --server "$url" sub "exeunt.events.$namespace.*.workflow.failed" --stream EXEUNT_EVENTS --since 1h "$@"
