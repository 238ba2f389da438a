"""Object storage behind one small protocol. Knows keys, bytes, versions; not chunks or caching."""
