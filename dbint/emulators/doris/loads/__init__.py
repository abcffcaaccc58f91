"""Stream Load: what the headers ask for, the formats, and loads that wait for their commit."""
