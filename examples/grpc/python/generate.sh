#!/bin/sh
# Makes exeunt/v1 beside this file, from proto/, with grpcio-tools.
set -eu
cd "$(dirname "$0")"
proto=${PROTO:-../../../proto}
${PYTHON:-python3} -m grpc_tools.protoc -I "$proto" --python_out=. --grpc_python_out=. "$proto"/exeunt/v1/*.proto
