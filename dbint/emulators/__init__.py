"""Emulators of servers that no package registry offers, for development and tests. They are not those
servers.
"""
