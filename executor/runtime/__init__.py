"""Where steps run: one module for each kind of surroundings, behind one interface."""
