"""Long measurements: each module is a command whose results the package ships and a chapter reads."""
