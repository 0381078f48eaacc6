"""What is trained: presets, tokenizers of all families, and the exported folder."""
