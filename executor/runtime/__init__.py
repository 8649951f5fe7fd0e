"""Where steps run: one module for each kind of surroundings (`table` lists them), behind one interface (`base`)."""
