"""How encoders compute: programs and numbers, batches, shortened vectors; no files of a memory."""
