"""Where and how it is computed: devices, threads, processes, memory."""
