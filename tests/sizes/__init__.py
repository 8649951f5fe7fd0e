"""What stands at the limits of sizes and counts, on real services, beside a workflow that must not notice."""
