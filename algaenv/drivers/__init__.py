"""Drivers of content, and what they need around them: one foreign library in each module."""
