"""Solvers: pure torch over three callables (denoise, encode, decode), no ComfyUI."""
