"""Mounted snapshots. Knows inodes, names, extents and mounts; not LMDB, object stores or pods."""
