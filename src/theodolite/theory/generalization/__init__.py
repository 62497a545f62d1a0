"""Double descent, implicit bias, random labels."""
