"""The links of the chain, one a file: a typed config in, a typed result out, nothing printed."""
