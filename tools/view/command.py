"""`tarpon view SHARDS|RUN`: a page in the browser of this machine to look through trials, stacks and photographs."""

from pathlib import Path


def run(source: str, *, data: str | None = None, port: int = 0) -> int:
    """Show shards, or a run with its predictions, on a page that only this machine can open, until Ctrl-C.

    Args:
        source: shards that `tarpon pack` wrote, or a run folder, whose predictions then stand beside the labels.
        data: the shards of a run, where they have been moved; of a fish run, the shards of the images.
        port: of 127.0.0.1, where the page is served; 0: any that is free.
    """
    from tarpon.tools.view.open import open_album  # what reads pictures takes a second, which --help does not wait for
    from tarpon.tools.view.server import make_server

    if not 0 <= port < 2**16:
        raise ValueError(f"port={port} must be 0 (any that is free) to 65535")
    album, title = open_album(Path(source), data=data)
    try:
        server = make_server(album, title=title, port=port)
    except OSError as error:
        raise ValueError(f"port={port} cannot be had ({error.strerror}); give another --port, or none") from error
    print(f"{title}: {len(album.entries)} entries at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
        album.close()
    return 0
