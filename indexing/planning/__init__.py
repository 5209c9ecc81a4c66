"""What a build would read, take and need, before it runs."""
