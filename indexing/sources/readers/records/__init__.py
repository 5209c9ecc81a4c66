"""Files of records, JSON and YAML."""
