"""Report: figures' theme, claims, page, README."""
