"""What a test may expect of a prompt."""


class Failed(Exception):
    """A prompt that ComfyUI refused, or whose run ended in an error or a cancel."""
