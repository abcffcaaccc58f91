"""Agents, what they are asked to do, and what became of it."""
