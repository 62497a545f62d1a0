"""The stand-in registers a device with the whole process: only a process of its own may import it."""

collect_ignore = ["accelerator.py", "on_accelerator.py"]
