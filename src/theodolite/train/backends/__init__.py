"""Backends: ways of carrying a chunk of members through a segment of steps without looking at it."""
