"""Gives a device its identity and its place in a network."""
