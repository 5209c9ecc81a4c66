"""How texts become vectors: encoders, what runs them and in which precision. No files of a memory."""
