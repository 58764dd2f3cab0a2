"""Files that are not our subject: written whole or not at all, where caches lie, what made a result."""
