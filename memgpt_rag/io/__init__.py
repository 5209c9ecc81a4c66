"""Access to the operating system, the terminal, the cache folder and third-party files, one module each."""
