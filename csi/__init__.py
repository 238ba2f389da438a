"""The Kubernetes driver. Knows volumes, targets and pods; not chunks or inodes."""
