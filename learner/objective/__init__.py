"""The learned objective L_alpha: inputs, parts, definition, hand-written derivatives."""
