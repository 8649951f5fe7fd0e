#!/bin/sh
# Makes gen/ from proto/: the module exeunt.dev/go, with clients of both services. It needs go and protoc (PROTOC, where that
# is called otherwise); the plugins come from the module proxy, in the versions that go.mod has.
set -eu
cd "$(dirname "$0")"
proto=${PROTO:-../../../proto}
GOBIN="$PWD/gen/bin" go install tool
${PROTOC:-protoc} -I "$proto" --plugin=gen/bin/protoc-gen-go --plugin=gen/bin/protoc-gen-go-grpc \
  --go_out=gen --go_opt=module=exeunt.dev/go --go-grpc_out=gen --go-grpc_opt=module=exeunt.dev/go \
  "$proto"/exeunt/v1/*.proto
