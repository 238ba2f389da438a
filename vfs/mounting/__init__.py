"""Mounts and the processes that hold and serve them. Knows mount(2), descriptors, pids."""
