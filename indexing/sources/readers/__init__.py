"""One room per format: a function `read` turns a file into documents."""
