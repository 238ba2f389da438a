"""The node's cache, the only writer of LMDB. Knows objects, chunks and bytes; not names or pods."""
