"""A snapshot as one immutable file of pages: written, read, compared. Knows no storage."""
