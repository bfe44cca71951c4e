"""What an extension bundle is: its digest, its manifest, its names and its archive.

The lowest layer: it imports no other package of the project, knows no service, and reads or writes
only the directories it is given. Import the module you need; nothing is re-exported here.
"""
