"""A fuzzer for expressions: whatever is written, there is a value or an ExpressionError, soon and in little memory."""
