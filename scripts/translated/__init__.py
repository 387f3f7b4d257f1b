"""The book in other languages: what readers see is taken out of the sources, translated in catalogues, and put back.

spans       a piece of a source, where it stands, how a translation is written there
markdown    the messages of a MyST text
code        the messages of a cell's code, and its syntax tree without them
values      the messages of YAML files
catalogue   .po files: what is kept, what is stale
rules       what a translation must share with its message, and how it is set
exchange    open messages as a text, and answers to them
"""
