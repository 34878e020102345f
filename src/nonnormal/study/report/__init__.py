"""Report: theme of the figures, text of tables, HTML page and Markdown page of results."""
