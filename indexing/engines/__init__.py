"""Engines that run a job's work: in this process, or on Ray workers."""
