"""The peers' side: functions that take plain arrays, prepare the work, and return the call to be timed.

They run in the peers' interpreters (`benchmarks.elsewhere`), so every import of a peer stands inside its function.
"""
