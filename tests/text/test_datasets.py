import hashlib
import http.server
import threading

import pytest

from fastdl import datasets

NOVEL = b"The Time Machine, by H. G. Wells\n" * 100
NOWHERE = "http://127.0.0.1:9/timemachine.txt"  # the discard port: refused at once


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without the book, without a cache and without the network."""
    monkeypatch.delenv("FASTDL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets, "TIME_MACHINE_URL", NOWHERE)
    monkeypatch.setattr(datasets, "TIME_MACHINE_SHA1", hashlib.sha1(NOVEL).hexdigest())
    return tmp_path


@pytest.fixture
def server(monkeypatch):
    """A local web server; its `body` is what it gives."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked += 1
            self.send_response(200)
            self.send_header("Content-Length", str(server.length or len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.asked, server.length = NOVEL, 0, None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(datasets, "TIME_MACHINE_URL", f"http://127.0.0.1:{server.server_port}/timemachine.txt")
    yield server
    server.shutdown()
    server.server_close()


def test_the_data_folder_comes_first(empty, monkeypatch):
    (empty / "timemachine.txt").write_text("from the folder")
    monkeypatch.setenv("FASTDL_DATA", str(empty))
    assert datasets.time_machine() == ("from the folder", str(empty / "timemachine.txt"), False)


def test_a_bad_file_in_the_data_folder_is_an_error(empty, monkeypatch):
    monkeypatch.setenv("FASTDL_DATA", str(empty))
    (empty / "timemachine.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"timemachine\.txt: not UTF-8 text: byte 0xff at position 3"):
        datasets.time_machine()
    (empty / "timemachine.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"timemachine\.txt: no text in it"):
        datasets.time_machine()


def test_a_download_is_kept_in_the_cache(empty, server):
    book = datasets.time_machine()
    assert book.text == NOVEL.decode() and book.source == datasets.TIME_MACHINE_URL and not book.is_substitute
    cached = empty / "cache" / "fastdl" / "timemachine.txt"
    assert cached.read_bytes() == NOVEL and len(list(cached.parent.iterdir())) == 1
    again = datasets.time_machine()
    assert again.text == book.text and again.source == str(cached) and server.asked == 1


def test_a_spoilt_cache_is_fetched_again(empty, server):
    cached = empty / "cache" / "fastdl" / "timemachine.txt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(NOVEL[:-5])
    assert datasets.time_machine().text == NOVEL.decode()
    assert cached.read_bytes() == NOVEL and server.asked == 1


@pytest.mark.parametrize("body, length", [(b"<html>log in first</html>", None), (NOVEL[:50], len(NOVEL)), (b"", None)])
def test_a_wrong_download_is_not_taken(empty, server, body, length):
    server.body, server.length = body, length
    book = datasets.time_machine()
    assert book.is_substitute and "could not be fetched" in book.source
    assert not (empty / "cache").exists()


def test_without_anything_pydoc_stands_in(empty):
    book = datasets.time_machine()
    assert book.is_substitute and "pydoc" in book.source and NOWHERE in book.source
    assert len(book.text) > 100_000 and "assignment" in book.text


def test_a_cache_that_cannot_be_written_is_no_error(empty, server):
    (empty / "cache").write_text("a file where the folder should be")
    assert datasets.time_machine().text == NOVEL.decode()


def test_cache_dir_ignores_a_relative_setting(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert datasets.cache_dir().is_absolute()


def test_a_data_folder_without_the_book_is_passed_over(empty, monkeypatch, server):
    monkeypatch.setenv("FASTDL_DATA", str(empty))
    assert datasets.time_machine().source == datasets.TIME_MACHINE_URL
