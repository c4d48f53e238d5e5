"""One image being labelled: text, prompts, proposals, accepted masks and undo, without a window.

The pieces, in the order data flows:

``image.AnnotatedImage``
    The voxels on their own axes (2D, 3D, 4D, RGB), and ``slice_pixels``: a slice as the models see it.
``places``
    ``SliceAt`` (which slice: fixed indices, None on the two axes shown), ``ObjectKey`` (class label, object number),
    ``Box`` (a part of the image grid).
``session.Session``
    All that is known about the image. Its verbs (those of the reader are in ``labelling``) change it at once, on the
    thread that owns it, and return a ``Change``: which boxes of ``session.labels`` and ``session.proposed`` and which
    slices a viewer has to refresh.
``actions``
    ``Action``: what a verb did, and ``Recorder``: whoever is told of it (``session.book.recorder``), such as a project.
``requests``, ``stack_requests``
    Work for the models. ``session.plan_…`` makes a request; ``request.run(grounder, segmenter, progress, cancelled)``
    is pure and may take place in a thread; ``session.apply(outcome)`` takes the outcome in, or drops what is stale.
``worker.ModelWorker``
    One thread that loads the models and runs requests, the newest of each kind first.

A script does in three lines what the window does::

    session = Session(AnnotatedImage.from_volume(read_image("brain.nii.gz")))
    at = SliceAt.across(0, 12)
    session.apply(session.plan_text(at, "brain tumor").run(model, model))
    session.accept(at)
    session.apply(session.plan_propagation(at).run(model, model))
    session.accept_proposals(at)
    write_mask(session.labels, volume, "tumor.nii.gz")

Coordinates of prompts are pixels of the stored slice: x along the later, y along the earlier of the two axes shown.
Slices are turned the way they are read only on their way to the models, and masks are turned back.
"""
