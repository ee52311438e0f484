from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.folders.walking import DEEPEST
from gformer_cli.watch.contents import domain_of
from gformer_cli.watch.incoming import LONGEST_WRITE, SECOND_LOOK, Arrival, Incoming
from gformer_cli.watch.queues import Due

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """`put("yard/a.png", time=5)`: a file of that time in the watched folder."""

    def write(name: str, content: bytes = b"image", *, time: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time, time))
        return path

    return write


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    """Settles after one second."""
    return Incoming(tmp_path, settle=1.0, known=(set(), set()))


def names(arrivals: list[Arrival]) -> list[str]:
    return [arrival.relative for arrival in arrivals]


def all_due(incoming: Incoming, now: float) -> list[str]:
    """Whatever is complete at `now`, in the order of batches."""
    incoming.update(now)
    found = []
    while (due := incoming.due(now, batch_size=100, max_wait=0.0)) is not None:
        found += names(incoming.take(due.domain, due.count, now)[0])
    return found


JPEG = b"\xff\xd8\xff\xe0 and so on"


def test_which_paths_are_images(incoming: Incoming, put: Put) -> None:
    """By suffix, else by content; nothing that is hidden, a system's own or still being written under another name."""
    wanted = ["a.png", "yard/B.JPG", "yard/2024-05/c.tif", "犬 \n.webp", "d.jfif", "e", "yard/f.dat"]
    hidden = [".a.png", ".hidden/a.png", "yard/.tmp/a.png", "@eaDir/a.png", "yard/Thumbs.db", "#recycle/x/a.png"]
    others = ["a.png.part", "b.tmp", "a.png~"]
    for name in [*wanted, *hidden, *others]:
        put(name, JPEG)
    put("a.txt", b"text")
    put("b.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for name in [*wanted, *hidden, *others, "a.txt", "b.heic"]:
        incoming.notice(name, 0.0, writing=False)
    assert sorted(all_due(incoming, 1.0)) == sorted(wanted)
    assert sorted(incoming.contents.names()) == sorted(wanted)
    assert incoming.contents.left_aside == {".part": 1, ".tmp": 1, ".png~": 1, ".txt": 1, ".heic": 1}
    assert incoming.contents.unread == {"b.heic": "HEIF"}


def test_a_file_of_another_suffix_is_an_image_once_it_begins_as_one(incoming: Incoming, put: Put) -> None:
    put("a.dat", b"", time=1)
    incoming.scan(0.0)
    assert all_due(incoming, 1.0) == [] and incoming.contents.left_aside == {".dat": 1}
    put("a.dat", JPEG, time=2)
    incoming.scan(2.0)
    assert all_due(incoming, 3.0) == ["a.dat"] and incoming.contents.left_aside == {}


def test_a_pipe_is_left_aside_and_never_opened(incoming: Incoming, put: Put) -> None:
    put("a.png")
    for name in ("b.png", "c", "d.dat"):
        os.mkfifo(incoming.contents.root / name)
    incoming.scan(0.0)
    incoming.notice("c", 0.0, writing=False)
    assert all_due(incoming, 1.0) == ["a.png"]
    assert incoming.contents.left_aside == {".png": 1, "(none)": 1, ".dat": 1}


def test_a_tree_that_is_too_deep_is_told_and_the_rest_is_found(
    tmp_path: Path, put: Put, make_deep: Callable[[Path], Path]
) -> None:
    put("a.png")
    (make_deep(tmp_path / "deep") / "b.png").write_bytes(b"image")
    done = {b"of a file that has gone"}
    incoming = Incoming(tmp_path, settle=1.0, known=(done,))
    incoming.scan(0.0)
    assert all_due(incoming, 1.0) == ["a.png"]
    assert len(incoming.contents.unreadable) == 1 and "more than 100 folders deep" in incoming.contents.unreadable[0]
    assert done == set()  # what is never looked into does not make the keys grow for ever


def test_links_are_followed_under_their_names_but_not_in_circles(tmp_path: Path, put: Put) -> None:
    put("store/a.png")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to("store")
    (tmp_path / "store" / "again").symlink_to(tmp_path)
    incoming = Incoming(tmp_path, settle=0.0, known=())
    assert list(incoming.contents.names()) == ["store/a.png", "one/a.png", "two/a.png"]


def test_folders_of_the_names_of_classes_are_no_domains(tmp_path: Path, put: Put) -> None:
    names = ["de\u0301faut/1.png", "ok/2.png", "site/ok/3.png", "4.png"]
    for name in names:
        put(name)
    incoming = Incoming(tmp_path, settle=0.0, known=(), classes=["ok", "d\u00e9faut"])
    assert [incoming.domain_of(name) for name in names] == [".", ".", "site", "."]


def test_a_domain_is_the_first_folder_below_the_watched_one() -> None:
    assert [domain_of(name) for name in ("a.png", "yard/a.png", "yard/2024/a.png")] == [".", "yard", "yard"]


def test_a_scan_finds_all_images_and_no_more(incoming: Incoming, put: Put) -> None:
    for name in ("a.png", "yard/b.png", "yard/deep/c.png", ".d.png", ".hidden/e.png", "f.txt"):
        put(name)
    os.mkfifo(incoming.contents.root / "pipe.png")
    (incoming.contents.root / "nowhere.png").symlink_to(incoming.contents.root / "missing.png")
    assert sorted(incoming.contents.names()) == ["a.png", "yard/b.png", "yard/deep/c.png"]


def test_a_file_is_complete_when_it_has_not_changed_for_the_settling_time(incoming: Incoming, put: Put) -> None:
    put("a.png", b"im")
    incoming.scan(0.0)
    assert all_due(incoming, 0.9) == []
    put("a.png", b"image")
    assert all_due(incoming, 1.0) == []
    assert all_due(incoming, 1.9) == []
    assert all_due(incoming, 2.0) == ["a.png"]


def test_a_file_that_grows_on_never_is_complete(incoming: Incoming, put: Put) -> None:
    for second in range(1, 20):
        put("a.png", b"x" * second)
        incoming.scan(float(second))
        assert all_due(incoming, second + 0.5) == []


def test_a_new_time_alone_is_a_change(incoming: Incoming, put: Put) -> None:
    put("a.png", time=1)
    incoming.scan(0.0)
    put("a.png", time=2)
    assert all_due(incoming, 1.0) == []
    assert all_due(incoming, 2.0) == ["a.png"]


def test_a_file_that_somebody_writes_to_waits_until_it_is_closed(incoming: Incoming, put: Put) -> None:
    put("a.png")
    incoming.notice("a.png", 0.0, writing=True)
    assert all_due(incoming, 30.0) == []
    incoming.notice("a.png", 30.1, writing=False)
    assert all_due(incoming, 30.2) == ["a.png"]


def test_a_writer_that_never_closes_is_not_waited_for_for_ever(incoming: Incoming, put: Put) -> None:
    put("a.png")
    incoming.notice("a.png", 0.0, writing=True)
    assert all_due(incoming, LONGEST_WRITE - 0.1) == []
    assert all_due(incoming, LONGEST_WRITE) == ["a.png"]


def test_a_passing_file_is_forgotten(incoming: Incoming, put: Put) -> None:
    put("a.png").unlink()
    incoming.notice("a.png", 0.0, writing=True)
    put("b.png")
    incoming.scan(0.0)
    (incoming.contents.root / "b.png").unlink()
    assert all_due(incoming, 5.0) == [] and incoming.settling == incoming.waiting == 0


def test_images_come_in_order_of_their_time_and_then_their_name(incoming: Incoming, put: Put) -> None:
    for name, time in (("d.png", 1), ("a.png", 3), ("c.png", 2), ("b.png", 2)):
        put(name, time=time)
    incoming.scan(0.0)
    assert all_due(incoming, 1.0) == ["d.png", "b.png", "c.png", "a.png"]


def test_a_full_batch_is_due_at_once_and_a_smaller_one_after_the_longest_wait(incoming: Incoming, put: Put) -> None:
    for number in range(5):
        put(f"{number}.png")
    incoming.scan(0.0)
    incoming.update(1.0)
    assert incoming.due(1.0, batch_size=3, max_wait=10.0) == Due(".", 3)
    assert names(incoming.take(".", 3, 1.0)[0]) == ["0.png", "1.png", "2.png"]
    assert incoming.due(10.9, batch_size=3, max_wait=10.0) is None
    assert incoming.due(11.0, batch_size=3, max_wait=10.0) == Due(".", 2)


def test_full_batches_go_first_and_then_the_oldest_image(incoming: Incoming, put: Put) -> None:
    put("late/a.png", time=5)
    put("early/a.png", time=1)
    for number in range(2):
        put(f"full/{number}.png", time=9)
    incoming.scan(0.0)
    incoming.update(1.0)
    order = []
    while (due := incoming.due(1.0, batch_size=2, max_wait=0.0)) is not None:
        order.append(due.domain)
        incoming.take(due.domain, due.count, 1.0)
    assert order == ["full", "early", "late"]


def test_what_was_put_back_keeps_its_place_and_its_waiting_time(incoming: Incoming, put: Put) -> None:
    for number in range(3):
        put(f"{number}.png")
    incoming.scan(0.0)
    incoming.update(1.0)
    first = incoming.take(".", 2, 5.0)[0]
    assert incoming.waiting == 1
    for arrival in reversed(first):
        incoming.put_back(arrival)
    assert incoming.due(6.0, batch_size=9, max_wait=5.0) == Due(".", 3)
    assert names(incoming.take(".", 9, 6.0)[0]) == ["0.png", "1.png", "2.png"]


def test_what_was_unreadable_is_looked_at_again_once_it_may_be_complete(incoming: Incoming, put: Put) -> None:
    put("a.png")
    incoming.scan(0.0)
    incoming.update(1.0)
    (arrival,) = incoming.take(".", 1, 1.0)[0]
    incoming.look_again(arrival, 1.0)
    assert all_due(incoming, 0.9 + SECOND_LOOK) == []
    incoming.update(1.0 + SECOND_LOOK)
    (again,) = incoming.take(".", 1, 20.0)[0]
    assert (arrival.tries, again.tries) == (0, 1)


def test_an_unreadable_file_that_changes_starts_anew(incoming: Incoming, put: Put) -> None:
    put("a.png", b"im")
    incoming.scan(0.0)
    incoming.update(1.0)
    incoming.look_again(incoming.take(".", 1, 1.0)[0][0], 1.0)
    put("a.png", b"image")
    incoming.update(20.0)
    incoming.update(21.0)
    assert incoming.take(".", 1, 21.0)[0][0].tries == 0


def test_files_that_vanish_or_change_before_they_are_taken(incoming: Incoming, put: Put) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(name)
    incoming.scan(0.0)
    incoming.update(1.0)
    (incoming.contents.root / "a.png").unlink()
    put("b.png", b"another")
    taken, gone = incoming.take(".", 3, 1.0)
    assert (names(taken), gone) == (["c.png"], ["a.png"])
    assert all_due(incoming, 2.0) == ["b.png"]


def test_a_file_that_goes_after_it_was_read_in_vain_is_told(incoming: Incoming, put: Put) -> None:
    put("a.png")
    put("b.png")
    incoming.scan(0.0)
    incoming.update(1.0)
    incoming.look_again(incoming.take(".", 1, 1.0)[0][0], 1.0)
    (incoming.contents.root / "a.png").unlink()
    assert incoming.update(20.0) == ["a.png"]
    assert incoming.update(40.0) == [] and incoming.settling == 0


def test_a_change_while_it_is_read_is_noticed(incoming: Incoming, put: Put) -> None:
    put("a.png")
    incoming.scan(0.0)
    incoming.update(1.0)
    (arrival,) = incoming.take(".", 1, 1.0)[0]
    assert not incoming.changed(arrival, 1.0)
    put("a.png", b"another")
    assert incoming.changed(arrival, 1.0)
    assert all_due(incoming, 2.0) == ["a.png"]


def test_known_images_are_not_offered_and_are_told_by_the_scan(tmp_path: Path, put: Put) -> None:
    put("a.png")
    put("b.png")
    done: set[bytes] = set()
    incoming = Incoming(tmp_path, settle=1.0, known=(done,))
    incoming.scan(0.0)
    incoming.update(1.0)
    done.add(incoming.take(".", 1, 1.0)[0][0].key)
    assert incoming.scan(2.0) == ["a.png"]
    incoming.notice("a.png", 2.0, writing=False)
    incoming.update(5.0)
    (arrival,) = incoming.take(".", 9, 5.0)[0]
    assert arrival.relative == "b.png"
    done.add(arrival.key)
    assert incoming.stamp_among(done, "a.png") and not incoming.stamp_among(done, "c.png")
    put("a.png", b"another image of this name")
    assert incoming.scan(6.0) == ["b.png"]
    assert all_due(incoming, 7.0) == ["a.png"]


def test_keys_of_images_that_have_gone_are_dropped(tmp_path: Path, put: Put) -> None:
    put("a.png")
    put("b.png")
    done = {b"of a file that has gone"}
    incoming = Incoming(tmp_path, settle=0.0, known=(done,))
    incoming.scan(0.0)
    assert done == set()
    incoming.update(0.0)
    done |= {arrival.key for arrival in incoming.take(".", 2, 0.0)[0]}
    (tmp_path / "a.png").unlink()
    incoming.scan(1.0)
    assert len(done) == 1 and incoming.stamp_among(done, "b.png")


def test_a_share_that_is_not_mounted_makes_nothing_forgotten(tmp_path: Path) -> None:
    share, elsewhere = tmp_path / "share", tmp_path / "elsewhere"
    share.mkdir()
    (share / "a.png").write_bytes(b"image")
    done: set[bytes] = set()
    incoming = Incoming(share, settle=0.0, known=(done,))
    incoming.scan(0.0)
    incoming.update(0.0)
    done.add(incoming.take(".", 1, 0.0)[0][0].key)
    incoming.scan(1.0)
    share.rename(elsewhere)
    incoming.scan(2.0)
    assert incoming.contents.unreadable and len(done) == 1
    share.mkdir()
    incoming.scan(3.0)
    (share / "other.png").write_bytes(b"x")
    incoming.scan(4.0)
    share.rename(tmp_path / "empty")
    elsewhere.rename(share)
    assert incoming.scan(5.0) == ["a.png"] and len(done) == 1


def test_a_file_that_goes_on_changing_is_told_and_no_longer_an_arrival(tmp_path: Path, put: Put) -> None:
    incoming = Incoming(tmp_path, settle=1.0, known=())
    for second in range(80):
        put("snapshot.png", time=second)
        incoming.scan(float(second))
        incoming.notice("snapshot.png", float(second), writing=False)
        assert incoming.update(float(second)) == []
        assert incoming.restless(float(second)) == ([] if second < 60 else ["snapshot.png"])
    assert incoming.waiting == 0 and incoming.last_arrival == 59.0
    incoming.update(81.0)
    assert incoming.waiting == 1 and incoming.restless(81.0) == []


def test_a_notice_from_beyond_the_depth_that_is_looked_into_counts_for_nothing(incoming: Incoming, put: Put) -> None:
    put("/".join("d" * DEEPEST) + "/a.png")
    put("/".join("d" * (DEEPEST + 1)) + "/b.png")
    for depth, name in ((DEEPEST, "a.png"), (DEEPEST + 1, "b.png")):
        incoming.notice("/".join("d" * depth) + "/" + name, 0.0, writing=False)
    assert [name[-5:] for name in all_due(incoming, 1.0)] == ["a.png"]
    assert [name[-5:] for name in incoming.contents.names()] == ["a.png"]
