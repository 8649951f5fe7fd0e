"""Programs and tools of others: what they make of our contracts. Where a tool is missing its test is skipped."""
