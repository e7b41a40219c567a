"""What goes into the pipeline by itself: the files of a watched folder, each content once, with a ledger as the record.

No workflow engine here: whoever runs the jobs implements `passing.Runs`.
"""
