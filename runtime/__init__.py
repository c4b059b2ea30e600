"""The bridge to ComfyUI: the only code that touches its internals."""
