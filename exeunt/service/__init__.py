"""What all three services share: settings, logging, telemetry, gRPC, the graceful stop."""
