"""Servers that the tests and the demo read from: real ones where they can be had, ours where they must misbehave."""
