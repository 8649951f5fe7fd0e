"""The parts of the executor that need no process and no stream."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.executor import logs
from exeunt.executor.book import Book
from exeunt.executor.images import NoCommand, command_line, load_images
from exeunt.executor.logs import Output
from exeunt.executor.runtime.environment import base_environment, expand
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.slots import Pool, Slots
from exeunt.executor.turns import shared_paths
from exeunt.internal.v1 import step_pb2 as pb


def images_file(directory: Path, text: str) -> Path:
    """A file for `--images`."""
    path = directory / "images.yaml"
    path.write_text(text)
    return path


def test_a_command_line_is_put_together_as_in_a_container(tmp_path: Path) -> None:
    images = load_images(images_file(tmp_path, "whale:1: {entrypoint: [cowsay], cmd: [moo]}\nbare: {cmd: [sh]}"))
    assert command_line("whale:1", [], [], images) == ["cowsay", "moo"]
    assert command_line("whale:1", [], ["hi"], images) == ["cowsay", "hi"]
    assert command_line("whale:1", ["echo"], ["hi"], images) == ["echo", "hi"]
    assert command_line("whale:1", ["echo"], [], images) == ["echo"]
    assert command_line("bare:latest", [], [], images) == ["sh"]
    with pytest.raises(NoCommand, match='image "other"'):
        command_line("other", [], ["hi"], images)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a, b]", "a map with entrypoint and cmd"),
        ("a: {entrypoint: sh}", "a: entrypoint: a list of texts"),
        ("a: {command: [sh]}", "a: a map with entrypoint and cmd"),
        ("a: [", "images.yaml"),
    ],
)
def test_a_wrong_table_of_images_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_images(images_file(tmp_path, text))


@given(
    st.lists(st.tuples(st.sampled_from(["take", "exit", "give"]), st.integers(0, 10)), max_size=60),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_a_free_slot_is_lent_to_exactly_one_scheduler(
    moves: list[tuple[str, int]], ordinary: int, kept: int, count: int
) -> None:
    slots: Slots[str] = Slots(ordinary, kept)
    links = [f"s{n}" for n in range(count)]
    taken: list[Pool] = []
    for move, which in moves:
        if move == "give" and taken:
            slots.give(taken.pop(which % len(taken)))
        elif move != "give" and (pool := slots.take(exit=move == "exit")) is not None:
            taken.append(pool)
        shares = [slots.shares(link, links) for link in links]
        assert sum(s[0] for s in shares) == ordinary - slots.ordinary.used
        assert sum(s[1] for s in shares) == kept - slots.kept.used
        assert len(taken) == slots.ordinary.used + slots.kept.used <= ordinary + kept


@given(
    st.lists(
        st.one_of(st.binary(max_size=300), st.sampled_from(["send", "new stream", "heard", "unheard"])), max_size=40
    ),
    st.integers(200, 600),
)
def test_output_is_passed_on_whole_or_says_what_is_missing(moves: list[bytes | str], limit: int) -> None:
    written, heard, got = b"", False, dict[int, bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "FRAME", 64)
        output = Output("a", limit, 1000, wants_result=False, is_heard=lambda: heard)

        def take(room: int) -> None:
            frames = output.frames(room)
            assert [f.number for f in frames] == sorted({f.number for f in frames})
            assert sum(len(f.data) for f in frames[:-1]) < room
            for frame in frames:
                got.setdefault(frame.number, frame.data)  # as readers do, who may have had it on an earlier stream

        for move in moves:
            if isinstance(move, bytes):
                written += move
                output.write(move, stdout=True)
                assert output._size <= limit + 364 or heard  # who is heard waits, and writes no more
                assert not output.full or heard
            elif move == "send" and heard:
                take(100)
            elif move == "new stream":
                output.again()
            else:
                heard = move == "heard"
        output.end()
        while output.more:
            take(100)
    kept = b"".join(got[number] for number in sorted(got))
    between = NOTE.split(kept)
    assert kept == written if len(between) == 1 else written.endswith(between[-1])


NOTE = re.compile(rb"\[exeunt: (\d+) bytes of output are left out here\]\n")


def test_the_last_lines_are_whole_whichever_stream_they_are_of() -> None:
    output = Output("a", 64 * 1024, 1000, wants_result=False)
    for data, stdout in ((b"one\nhal", True), (b"two\nno end", False), (b"f a line\nnor here", True), (b"!", False)):
        output.write(data, stdout=stdout)
    output.end()
    assert output.tail() == ["one", "two", "half a line", "nor here", "no end!"]


def test_of_output_that_nobody_takes_the_oldest_goes_and_is_counted() -> None:
    output = Output("a", 64 * 1024, 1000, wants_result=False)
    lines = b"".join(b"line %d\n" % n for n in range(100_000))
    for at in range(0, len(lines), 5000):
        output.write(lines[at : at + 5000], stdout=True)
    output.end()
    first, *rest = output.frames()
    said = NOTE.fullmatch(first.data)
    kept = b"".join(frame.data for frame in rest)
    assert said is not None
    assert int(said[1]) + len(kept) == len(lines)
    assert lines.endswith(kept)
    assert 32 * 1024 <= len(kept) <= 64 * 1024
    assert first.number == rest[0].number - 1


def test_a_new_stream_gets_what_is_kept_once_more() -> None:
    output = Output("a", 1000, 1000, wants_result=False)
    output.write(b"one\ntwo\nhal", stdout=True)
    assert [frame.data for frame in output.frames()] == [b"one\ntwo\n"]
    assert output.frames() == []
    output.again()
    output.write(b"f\n", stdout=True)
    assert [frame.data for frame in output.frames()] == [b"one\ntwo\n", b"half\n"]


def test_a_long_result_keeps_its_last_part_and_whole_characters() -> None:
    output = Output("a", 10, 7, wants_result=True)
    for _ in range(40):
        output.write("äöü".encode(), stdout=True)
    output.write(b"stderr", stdout=False)
    assert output.result() == "äöü"


def test_the_book_remembers_what_was_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    book = Book(path)
    book.begun("u/a/0", 1)
    book.begun("u/b/0", 2)
    book.ended("u/b/0", 2, b"result")
    book.begun("u/c/0", 3)
    book.ended("u/c/0", 3, b"gone")
    book.forget(["u/c/0"])
    book.begun("u/torn/0", 4)
    book.close()
    os.truncate(path, path.stat().st_size - 3)
    again = Book(path)
    assert {id: (e.partition, e.update) for id, e in again.entries.items()} == {
        "u/a/0": (1, None),
        "u/b/0": (2, b"result"),
    }
    again.close()


def test_the_book_does_not_grow_with_what_was_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    book = Book(path)
    for n in range(5000):
        book.begun(f"u/{n}/0", 0)
        book.ended(f"u/{n}/0", 0, b"x" * 100)
        book.forget([f"u/{n}/0"])
    book.close()
    assert path.stat().st_size < 5000 * 100


def test_references_to_variables_are_read_as_kubernetes_reads_them() -> None:
    given = [("A", "1"), ("B", "$(A)2"), ("C", "$(D)"), ("D", "$$(A)")]
    work = pb.ContainerWork(env=[pb.EnvironmentVariable(name=name, value=value) for name, value in given])
    variables = StepSecrets(pb.Step()).environment(work)
    assert variables == {"A": "1", "B": "12", "C": "$(D)", "D": "$(A)"}
    assert expand("$(B) $(UNKNOWN) $B $$", variables) == "12 $(UNKNOWN) $B $"


def test_path_ends_with_the_running_python(tmp_path: Path) -> None:
    environment = base_environment({"PATH": "/nowhere", "SECRET": "x"}, tmp_path)
    assert environment["PATH"].split(":")[0] == "/nowhere"
    assert os.path.exists(environment["PATH"].split(":")[-1] + "/python3")
    assert "SECRET" not in environment


def test_a_step_has_a_home_that_is_there(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    shims = tmp_path / "data" / "bin"
    assert base_environment({"HOME": str(there)}, shims)["HOME"] == str(there)
    for own in ({"HOME": "/home/nobody-made-it"}, {}):
        home = base_environment(own, shims)["HOME"]
        assert os.access(home, os.W_OK)
        assert home.startswith(str(tmp_path / "data"))


def test_only_files_that_others_see_are_shared() -> None:
    step = pb.Step(outputs=[pb.OutputParameter(path=p) for p in ("/tmp/a", "/tmp//b/../a", "own")])
    assert shared_paths(step) == ("/tmp/a",)
    step.container.working_dir = "/srv"
    assert shared_paths(step) == ("/tmp/a", "/srv/own")
