# Chores of the project, in the active virtual environment. `just` alone lists them.

# list the chores
default:
    @just --list --unsorted

# install the project with its models and everything that the tests need
install:
    pip install -c constraints.txt -e '.[offline,test]'

# run the checks of .pre-commit-config.yaml before every commit
hooks:
    pip install -c constraints.txt 'pre-commit>=4' && pre-commit install

# mend what ruff can mend, and format
fix:
    ruff check --fix . && ruff format .

# check style, format and types
lint:
    sh .ci/lint

# run all tests, in two processes; arguments go to pytest
test *arguments:
    pytest {{arguments}}

# run the tests that need no model
test-fast *arguments:
    pytest -m "not offline_models" {{arguments}}

# run the slow tests, which `just test` leaves out
test-slow *arguments:
    pytest --slow {{arguments}}

# kill jobs at every change and damage memories at every byte; takes minutes
test-thorough *arguments:
    pytest tests/memory tests/indexing/test_concurrent_builds.py --thorough {{arguments}}

# run the tests with the lowest dependencies that pyproject.toml admits
test-lowest *arguments:
    sh .ci/lowest {{arguments}}

# write docs/reference/cli.md from the commands
reference:
    python docs/generate_reference.py

# build the documentation; a broken link is an error
docs:
    mkdocs build --strict

# show the documentation while you write it
serve-docs:
    mkdocs serve

# say how benchmarks are run
bench-note:
    @echo "Each benchmark answers one question: python benchmarks/NAME.py --help tells which, and how long it takes."
    @echo "Run it on a quiet machine, and keep its command, date and commit with its table in docs/results/."
