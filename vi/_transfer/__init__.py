"""Moving bytes between local files and signed URLs: sources, parts, ranges, verified targets. Nothing of datasets."""
