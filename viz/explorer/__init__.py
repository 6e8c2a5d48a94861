"""The explorer: a canvas on which attention follows the pointer.

Nothing is imported here, since scripts that pack a scene need not wait for gradio.
"""
