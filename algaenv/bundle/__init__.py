"""What an extension bundle is: its digest, its manifest, its names and its archive.

The lowest room of the house: it imports nothing of ours, knows no service, and reads or writes
only the directories it is handed. Import the module you need; nothing is re-exported here.
"""
