"""Finding slices of a project by a text, or because they look like a region.

- `rows`: the vectors of one case, and what each is of.
- `store`: their files in the folder ``search`` of the project.
- `wanted`: what of a case should be there.
- `building`: making what is missing or out of date.
- `index`: all vectors in memory, and the slices that are nearest to one.
- `finding`: from a text or a region to answers in words.
- `work`: the same as requests to the thread of the models, for a window.
"""
