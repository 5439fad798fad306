"""What people look at: one page, one file, one Viewer."""
