"""What is known about Apache Doris without Django: names, types, and what its tables look like."""
