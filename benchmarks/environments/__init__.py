"""Peers' environments, from the requirement files of this folder."""
