"""What other programs made of the same input, recorded."""
