"""Where a sync's memory and time go. Run from the repository's root: make profile CONNECTOR=files."""
