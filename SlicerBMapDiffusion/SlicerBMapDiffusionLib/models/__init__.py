"""Bundles to draw with: what they say of themselves, how they come and go, and which segments they know."""
