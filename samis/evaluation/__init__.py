"""The one evaluator, and the rows it fills: how they are written, read, named and compared."""
