"""The node's cache and the only writer of LMDB. Knows objects, chunks and bytes; not inodes, file names or pods."""
