"""What a client can ask about the cluster and its tables: SHOW, DESC and information_schema."""
