"""Routine Load: jobs that consume a topic of Kafka into a table, task by task, each task exactly once."""
