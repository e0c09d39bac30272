"""One program a contestant: `python NAME.py URL TABLE FOLDER` exports the table and prints seconds and peak memory."""
