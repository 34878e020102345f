"""The study: what the pipeline runs. It imports the library, never the reverse."""
