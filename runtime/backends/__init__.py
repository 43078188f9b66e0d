"""One engine a module."""
