"""What each view shows, computed: values of bounded parameters to a mapping of plain values and arrays."""
