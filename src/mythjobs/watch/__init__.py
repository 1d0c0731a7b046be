"""Directories whose new files become jobs."""
