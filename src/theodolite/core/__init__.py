"""The nouns of the laboratory: quantity, lens needs, experiment, claim, record, schedule."""
