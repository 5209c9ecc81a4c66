"""Doc."""
import os


class Park:
    """A park."""

    def open(self, hour=6):  # six
        if hour < 6:
            return None
        return f"{hour}"


@decorator
async def close():
    pass
