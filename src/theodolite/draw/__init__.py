"""House style: figures, progress bars, tables."""
