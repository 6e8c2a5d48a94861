"""Pictures of attention: the page, its explorer, and still figures."""
