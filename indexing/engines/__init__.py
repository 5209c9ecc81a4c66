"""Where the work of a job is done: in this process, or by Ray's workers."""
