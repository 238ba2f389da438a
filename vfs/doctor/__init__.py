"""What is wrong with this user's mounts on this node, and mending what can be mended safely."""
