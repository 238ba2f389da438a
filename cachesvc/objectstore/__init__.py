"""Object storage behind one small protocol. Knows keys, bytes and versions; nothing of chunks or caching."""
