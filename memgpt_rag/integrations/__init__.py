"""Memories behind the interfaces of other frameworks, each in a module that its users import; frameworks are optional packages."""
