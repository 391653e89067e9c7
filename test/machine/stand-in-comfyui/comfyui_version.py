"""Where ComfyUI keeps its version; what this stand-in behaves like."""

__version__ = "0.3.64"
