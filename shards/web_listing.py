"""The files below a URL of a web server: the pages that it shows for folders link to them, and its headers tell of each."""

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from fsspec.asyn import sync

from tarpon.shards.quarantine import Trouble
from tarpon.shards.side_by_side import call_each

UNLISTED = (403, 404, 405, 410)  # what servers answer for a folder that they do not show
AT_ONCE = 16  # questions that a server gets at a time
DEEP = 16  # folders in folders: a link that leads back to where it stands would never end
PLAIN = {"Accept-Encoding": "identity"}  # a length of compressed bytes is no file's length
ADVICE = (
    "switch its directory listing on (nginx: autoindex on; Apache: Options +Indexes), or copy the folder (wget -r, rclone "
    "copy) and give the copy"
)


def list_tree(files: Any, root: str, *, attempt: Callable[[str, Callable[[], Any]], Any]) -> dict[str, dict[str, object]]:
    """Every file: name from the root -> size, Last-Modified, ETag.

    Args:
        files: fsspec's file system of the server.
        attempt: (name, action) -> what the action returns; tries again as `Store` does, and raises FileNotFoundError where
            the server knows no such name.

    Raises:
        ValueError: the server shows no links there, tells no length of a file, or folders never end; OSError of `attempt`.
    """

    def links(folder: str) -> tuple[list[str], list[str]]:
        return attempt(folder, lambda: sync(files.loop, _read_page, files, f"{root}/{quote(folder)}"))

    def head(name: str) -> dict[str, object]:
        return attempt(name, lambda: sync(files.loop, _read_head, files, f"{root}/{quote(name)}"))

    names, level = [], [""]
    for _ in range(DEEP):
        try:
            pages = call_each(links, level, threads=AT_ONCE)
        except Trouble as error:
            if level == [""] and getattr(error.__cause__, "status", 0) in UNLISTED:
                raise ValueError(f"{root}: the server knows no folder there, or does not list it; {ADVICE}") from error
            raise
        if level == [""] and not any(pages[0]):
            raise ValueError(f"{root}: the server lists no files there; {ADVICE}")
        names += [folder + name for folder, (found, _) in zip(level, pages, strict=True) for name in found]
        level = [f"{folder}{name}/" for folder, (_, below) in zip(level, pages, strict=True) for name in below]
        if not level:
            break
    else:
        raise ValueError(f"{root}: more than {DEEP} folders in one another ({level[0]}); does a link lead back?")
    found = dict(zip(names, call_each(head, names, threads=AT_ONCE), strict=True))
    if unknown := [name for name, told in found.items() if told["size"] is None]:
        raise ValueError(f"{root}/{unknown[0]}: the server tells no length of it; {ADVICE}")
    return found


async def _read_page(files: Any, url: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders that a page links to; none of what is no page."""
    session = await files.set_session()
    async with session.get(files.encode_url(url), **files.kwargs) as answer:
        answer.raise_for_status()
        if answer.content_type != "text/html":
            return [], []
        return split_links(str(answer.url), await answer.text(errors="replace"))


async def _read_head(files: Any, url: str) -> dict[str, object]:
    session = await files.set_session()
    how = files.kwargs | {"headers": {**files.kwargs.get("headers", {}), **PLAIN}}
    async with session.head(files.encode_url(url), allow_redirects=True, **how) as answer:
        answer.raise_for_status()
        size = None if "Content-Encoding" in answer.headers else answer.content_length
        return {"size": size} | {name: answer.headers.get(name, "") for name in ("Last-Modified", "ETag")}


def split_links(base: str, text: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders, in order, that the page of a folder at `base` links to.

    Links to other places, and those that sort the page (?C=M), are left out.
    """
    found: tuple[dict[str, None], dict[str, None]] = ({}, {})
    base = base if base.endswith("/") else f"{base}/"
    here = urlsplit(base)
    for link in _find_links(text):
        there = urlsplit(urljoin(base, link))
        rest = there.path.removeprefix(here.path)
        name = unquote(rest.removesuffix("/"))
        elsewhere = there.netloc != here.netloc or not there.path.startswith(here.path) or there.query or there.fragment
        if elsewhere or name in ("", ".", "..") or "/" in name or "\0" in name:
            continue
        found[rest.endswith("/")][name] = None
    return list(found[0]), list(found[1])


def _find_links(text: str) -> Iterator[str]:
    links: list[str] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                links.extend(value.strip() for name, value in attrs if name == "href" and value)

    Page().feed(text)
    return iter(links)
