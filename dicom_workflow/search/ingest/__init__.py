"""Ingest: images, reports and external vectors go into a search store, each once."""
