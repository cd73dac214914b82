"""The page in a real browser: what it shows, its keys, and that it fits a telephone."""

from types import SimpleNamespace

import pytest

LOADED = "document.querySelector('#picture').naturalWidth > 0 && document.querySelector('#caption').textContent"
AT = "location.hash"


def text(browser, selector: str) -> str:
    return browser.evaluate(f"document.querySelector({selector!r}).textContent")


@pytest.fixture
def mouse_page(browser, serve, untrained_mouse):
    """The page of a run of mice at its first frame."""
    browser.resize(1300, 900)
    with serve(untrained_mouse) as port:
        browser.open(f"http://127.0.0.1:{port}/", until=LOADED)
        yield browser
        browser.open("about:blank", until="true")


def test_keys_step_through_frames_and_entries(mouse_page):
    page = mouse_page
    page.evaluate("document.querySelector('#split').value = ''; document.querySelector('#split').onchange()")
    page.wait("document.querySelectorAll('#list button').length === 7")
    for entry in (1, 0):  # the page may have begun at 0: what it shows then says nothing of the click
        page.evaluate(f"document.querySelectorAll('#list button')[{entry}].click()")
        page.wait(f"{AT} === '#{entry}/0'")
    frames = page.evaluate("detail.steps")
    for key, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", frames - 1), ("Home", 0), ("ArrowLeft", 0)):
        page.press(key)
        assert page.evaluate(AT) == f"#0/{at}"
    for key, entry in (("n", 1), ("n", 2), ("p", 1), ("p", 0), ("p", 0)):
        page.press(key)
        page.wait(f"{AT} === '#{entry}/0'")
    page.press(" ")
    page.wait("step >= 2")
    page.press(" ")
    assert text(page, "#play") == "play"


def test_shows_labels_and_predictions_of_the_frame(mouse_page):
    page = mouse_page
    key = text(page, "#key")
    assert key
    assert key in text(page, "#list [aria-current]")
    assert "labelled" in text(page, "#caption")
    assert "predicted" in text(page, "#caption")
    assert page.evaluate("document.querySelectorAll('#strips canvas').length") == 2
    drawn = "document.querySelector('#over').getContext('2d').getImageData(0, 0, 500, 500).data.some((value) => value > 0)"
    page.wait(drawn)  # points over the frame
    assert page.evaluate("document.querySelector('#trouble').hidden")


@pytest.mark.parametrize("task", ["mouse", "cells", "fish", "star"])
def test_fits_a_telephone(browser, serve, request, fish_shards, task):
    browser.resize(400, 800)
    with serve(request.getfixturevalue(f"untrained_{task}"), data=fish_shards.root if task == "fish" else None) as port:
        loaded = "document.querySelector('#picture').naturalWidth > 0"
        browser.open(f"http://127.0.0.1:{port}/", until=loaded)
        assert browser.evaluate("document.documentElement.scrollWidth") == 400
        browser.open("about:blank", until="true")


def test_names_are_text_and_an_address_opens_its_entry(browser, serve):
    from tarpon.tools.view.record import Detail, Entry

    spiteful = "<img src=x onerror=\"document.title='taken'\">"
    detail = Detail(facts=[(spiteful, spiteful)], captions=[spiteful], unit=spiteful)
    entries = [Entry(key=f"{spiteful}{number}", split=spiteful, words=spiteful) for number in range(3)]
    album = SimpleNamespace(
        entries=entries,
        detail=lambda entry: detail,
        picture=lambda entry, step: (b"", "image/png"),
        steps=lambda entry: 1,
        close=lambda: None,
    )
    browser.resize(1300, 900)
    with serve(album, title=spiteful) as port:
        browser.open(f"http://127.0.0.1:{port}/#2/0", until="document.querySelector('#caption').textContent")
        assert text(browser, "#key") == f"{spiteful}2"
        assert browser.evaluate("document.querySelectorAll('img').length") == 1
        assert browser.evaluate("document.title") == spiteful
        browser.open("about:blank", until="true")
