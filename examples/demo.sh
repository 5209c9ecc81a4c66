#!/bin/sh
# Builds a memory from the small bilingual knowledge base beside this file, and asks it.
set -eu
cd "$(dirname "$0")/.."
set -x
memgpt-index build examples/knowledge --memory demo-memory --generator gemma-3-270m-4bit --replace
memgpt-rag ask --memory demo-memory < examples/questions.txt
