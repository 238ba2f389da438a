"""Answering the kernel's requests. Knows FUSE, inodes and extents; not processes."""
