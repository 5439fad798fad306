"""What things are, and the maths. Imports numpy and pydantic, never a model, a file format or a screen."""
