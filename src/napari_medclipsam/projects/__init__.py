"""A project folder: studies, classes, and a journal per case from which everything else is derived.

The format is in docs/project-format.md. The pieces, from the disk up:

``records``, ``journal``, ``scribe``, ``locking``
    One record as a line that proves itself; a file of them; writing that neither loses a record nor keeps a window
    waiting; who may write.
``codec``, ``replay``, ``compaction``
    Actions of a session as records, records to how things are, and old records out of the way.
``documents``, ``studies``, ``summary``
    Versioned JSON; which images there are and whether they are still the same; how far a case is.
``case.Case``, ``project.Project``, ``verify``
    What the rest of the program uses.

::

    with Project.create(Path("lesions"), ["brain tumor"]) as project:
        for found, study in project.add(images_in(Path("scans"))):
            print(found.path, study)
        with project.open_case("c0001") as case:
            session, at = case.session, case.at or SliceAt.across(0, 12)
            session.apply(session.plan_text(at, "brain tumor").run(model, model))
            session.accept(at)
"""
