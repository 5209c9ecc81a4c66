"""The user's caches of keys and states. A cache saves time and never changes a result."""
