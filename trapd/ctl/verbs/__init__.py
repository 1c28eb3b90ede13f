"""One file for each verb of trapctl: its options, its question, and how the answer is printed.

A file has the name of its verb (``rollout_undo.py`` is ``trapctl rollout undo``) and holds the command as ``verb``. It
is imported when the verb is used (trapd/ctl/main.py has a row for each verb), and imports nothing heavy itself.
"""
