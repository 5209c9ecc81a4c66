"""Uses of the memory beside answering questions: each a front on the same memory and the same attention."""
