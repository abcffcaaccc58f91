"""The processes that are killed: each reports to a witness, and ends well after a SIGTERM."""
