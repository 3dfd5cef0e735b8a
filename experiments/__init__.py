"""Ready descriptions, the runners, the store, the report and the command line."""
