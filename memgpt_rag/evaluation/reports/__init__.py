"""Reports as JSON, tables, plots and pages."""
