"""What every connector of the collection imports: one concept a file.

It needs the standard library, `requests` and the Connector SDK only, so that no connector's package carries a
dependency it does not use. Whatever else a helper needs (an open database connection, say) is passed in.
"""
