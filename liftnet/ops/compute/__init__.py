"""Where and how numbers are computed: devices, processes, precision, memory, time."""
