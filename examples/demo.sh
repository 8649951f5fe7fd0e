#!/bin/sh
# What `make demo` runs: a local cluster, a workflow that fails on purpose, its exit handlers, the ledger and the events.
# Usage: examples/demo.sh [EXEUNT]   (the command; `exeunt` when left out)
set -eu
exeunt=${1:-exeunt}
here=$(dirname "$0")
folder=$(mktemp -d)
XDG_STATE_HOME=$folder/state # a cluster of yours is left alone
export XDG_STATE_HOME
unset EXEUNT_SERVER EXEUNT_EXIT_SERVER
finish() {
  "$exeunt" down --data-dir "$folder/cluster" || true
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "A cluster on this machine: NATS, scheduler, exit handler, one executor"
"$exeunt" up --detach --no-metrics --data-dir "$folder/cluster"

say "A workflow whose second step fails; its exit handlers run, and one of them starts another workflow"
status=0
"$exeunt" submit "$here/exit-handlers/demo.yaml" --watch --timeout 120 || status=$?
test "$status" -eq 1 # it is meant to fail

say "What the steps and handlers printed"
name=$("$exeunt" list --phase Failed --limit 1 -o name)
"$exeunt" logs "$name"

say "The exit ledger: which handlers were due, how often they were tried, what became of them"
"$exeunt" exits list

say "The events that any NATS subscriber can follow"
"$exeunt" events

say "Done. Manifests are in $here; try: $exeunt run $here/exit-handlers/on-exit.yaml"
