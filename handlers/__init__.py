"""The built-in handlers; each one works as a template when its file is copied into the drop-in folder."""
