"""Chunks in LMDB: slabs, index, recovery, eviction. Knows nothing of where they come from."""
