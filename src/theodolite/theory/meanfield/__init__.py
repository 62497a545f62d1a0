"""Mean-field theory: signal propagation, criticality, dynamical isometry."""
