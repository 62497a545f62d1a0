"""What a module can show: one cached look at a model, its data and its loss."""
