"""Audit of an archive: near duplicates, and labels at odds with neighbors or reports, as one list to review."""
