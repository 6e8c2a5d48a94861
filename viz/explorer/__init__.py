"""The explorer: a canvas on which attention follows the pointer."""
