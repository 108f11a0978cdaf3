"""gRPC as every service speaks it: one server harness, one client, one mapping of errors."""
