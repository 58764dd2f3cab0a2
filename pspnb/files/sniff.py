"""What a file is, from its first bytes: said before anything tries to open it."""

from __future__ import annotations

from pathlib import Path

# The pickled magic number that opens every file `torch.save` wrote before version 1.6.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HTML = (b"<!doctype", b"<html", b"<head", b"<?xml")
_PAGE_BYTES = 200_000  # of a web page: enough to find its message


def kind_of(path: Path) -> str:
    """One of "empty", "web page", "zip", "legacy torch", "pickle", "safetensors", "unknown"."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        return "empty"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML):
        return "web page"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(_LEGACY_TORCH):
        return "legacy torch"
    if head.startswith(b"\x80") and head[1] in range(2, 6):
        return "pickle"
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"
    return "unknown"


def web_page_reason(path: Path) -> str:
    """Why a download was answered with a page instead of the file, as far as the page says."""
    with open(path, "rb") as file:
        page = file.read(_PAGE_BYTES).lower()
    if b"google" in page and any(sign in page for sign in (b"quota", b"too many users", b"download limit")):
        return "a Google Drive page: the download quota is exceeded; try again tomorrow, or copy it to your own Drive"
    if b"google" in page and (b"virus" in page or b"confirm" in page):
        return "a Google Drive confirmation page, not the file; open the link in a browser and confirm the download"
    return "a web page, not the file that was asked for; open the link in a browser to see what it says"
