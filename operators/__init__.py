"""Forward operators A with adjoint and pseudo-inverse: pure torch, no ComfyUI."""
