"""Publishing a source as a snapshot, and finding one by name: listings, refs, repositories."""
