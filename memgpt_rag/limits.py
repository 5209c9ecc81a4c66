"""The most that may be asked for at once, so that a strange input costs a sentence and not the machine.

Attention compares every token of a question with every other one and with those in memory: in fp32 a pass over 2,048 × 4,096
tokens takes some 3 GB with four heads. What the job makes stays far below: an entry has 160 tokens, a question has 4 entries.
"""

from __future__ import annotations

MOST_ENTRIES = 1_000  # of a question
MOST_RETRIEVED = 10_000  # of a search that nothing reads
MOST_ADJACENT = 100
MOST_NEW_TOKENS = 4_096
MOST_BEAMS = 64
MOST_PASSAGE_TOKENS = 4_096  # of what the job cuts
MOST_ENTRY_TOKENS = 8_192  # with its title
MOST_QUESTION_TOKENS = 2_048
MOST_PROMPT_TOKENS = 16_384  # of a question and the entries before it
MOST_MEMORY_TOKENS = 32_768  # of all entries of a question
MOST_PAIRS = 2**23  # of tokens that meet in one pass
MOST_PARTS = 100  # of a summary
MOST_HOPS = 4  # of a path
MOST_LABEL_TOKENS = 64  # of the words of a label
MOST_TRACED_WEIGHTS = 2**24  # of an answer's tokens on tokens in memory, kept beside the answer
MOST_CHARACTERS = 2**20  # of a text whose tokens are counted
MOST_DOCUMENT_CHARACTERS = 2**26  # of one document, or one record
MOST_FILE_CHARACTERS = 2**26  # of all documents of a file, or
MOST_FILE_EXPANSION = 100  # times its bytes, if that is more
MOST_RECORD_CHARACTERS = 2**24  # of a record's text, and of the line of JSON or row of CSV that holds it
MOST_JSON_BYTES = 2**28  # of a .json file, whose records are read one at a time
MOST_JSON_CHARACTERS = 2**25  # of a .json file that holds no records: it is parsed at once
MOST_PICTURES = 16  # in a question
MOST_PICTURE_BYTES = 2**25  # of a picture's file
MOST_PICTURE_PIXELS = 64_000_000  # of a picture that is decoded: up to 256 MB
MOST_JSON_DEPTH = 100  # of objects and lists in each other
# Of one HTTP request.
MOST_BODY_BYTES = 2**22  # of JSON
MOST_UPLOAD_BYTES = 2**29  # of a file
MOST_MESSAGES = 1_000
MOST_CHOICES = 16
MOST_STOPS = 16
MOST_TOP_LOGPROBS = 20
MOST_DOCUMENTS = 1_000  # to embed or to rerank

LEAST_PICTURES = 8  # to train an encoder of pictures on


def require_between(name: str, value: int, least: int, most: int) -> None:
    """Raises ValueError: a number outside of its bounds."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value:,}; expected {least:,} to {most:,}.")
