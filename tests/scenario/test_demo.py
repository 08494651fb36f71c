"""The play of `mls demo`, and whether its checks would notice."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mls.cli.app import app
from mls.cli.delivery import DeliveryService
from mls.cli.demo import demonstrate, performed
from mls.cli.play import Play, agreement
from mls.cli.report import Performance, print_comparison, print_story
from mls.cli.story import ACTS, add_everyone, found, perform, talk
from mls.cli.tree_picture import MAX_LEAVES_DRAWN, draw_tree
from mls.crypto import SUITES
from mls.errors import MLSError
from mls.messages import GroupInfo, MLSMessage, PrivateMessage
from treekem.tree import RatchetTree
from treekem.wire import decode


class Forgetful(DeliveryService):
    """Loses what is meant for one client, from some message on."""

    def __init__(self, name: str = "Bob", *, spared: int = 3) -> None:
        super().__init__()
        self._name = name
        self._spared = spared

    def fetch(self, name: str) -> list[bytes]:
        messages = super().fetch(name)
        if name != self._name:
            return messages
        kept = messages[: self._spared]
        self._spared -= len(kept)
        return kept


class Tampering(DeliveryService):
    """Changes one bit of every application message."""

    def post(self, sender: str, message: bytes) -> bool:
        body = decode(MLSMessage, message).body
        if isinstance(body, PrivateMessage) and body.content_type == 1:
            message = message[:-1] + bytes([message[-1] ^ 0x80])
        return super().post(sender, message)


def begun(members: int = 4, seed: int = 1) -> Play:
    """Return a play in which everybody has joined."""
    play = Play(1, members, seed)
    found(play)
    add_everyone(play)
    return play


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_the_play_passes_under_every_suite(suite: int) -> None:
    play = Play(suite, 4, 1)
    performance = performed(play)
    assert performance.passed, [check for step in performance.steps for check in step.checks if not check.passed]
    assert [step.title for step in performance.steps] == [title for title, _ in ACTS]
    # The last act moves to a successor under another suite.
    info = decode(MLSMessage, play.members[0].group.group_info()).body
    assert isinstance(info, GroupInfo)
    assert (performance.suite, info.group_context.cipher_suite) == (suite, play.suite.id)
    assert play.suite.id != suite


@pytest.mark.parametrize("members", [3, 5, 8, pytest.param(17, marks=pytest.mark.slow)])
def test_the_play_passes_in_groups_of_many_sizes(members: int) -> None:
    assert performed(Play(1, members, 1)).passed


def test_a_seed_repeats_everything_but_the_times() -> None:
    def facts(seed: int) -> list[tuple[object, ...]]:
        return [(step.sent_bytes, step.epoch_authenticator, step.checks) for step in perform(Play(2, 3, seed))]

    assert facts(5) == facts(5)
    assert facts(5) != facts(6)


def test_without_a_seed_no_two_plays_are_alike() -> None:
    assert performed(Play(1, 3, None)).tree.encode() != performed(Play(1, 3, None)).tree.encode()


def test_the_comparison_notices_who_is_left_behind() -> None:
    play = begun()
    groups = {player.name: player.group for player in play.members}
    assert all(check.passed for check in agreement(play.suite, groups))

    commit = play.members[0].group.commit()
    play.members[0].group.merge(commit)
    failed = {check.name for check in agreement(play.suite, groups) if not check.passed}
    assert failed == {"one epoch", "one epoch authenticator", "one tree hash", "one ratchet tree"}


def test_the_comparison_notices_a_stranger_and_a_wrong_suite() -> None:
    play = begun()
    groups = {f"not {player.name}": player.group for player in play.members}
    failed = {check.name for check in agreement(SUITES[7], groups) if not check.passed}
    assert failed == {"the members are those expected", "the tree hash, computed afresh"}


@pytest.mark.parametrize("spared", [0, 12, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 6, 9, 15, 18, 21))])
def test_a_lost_message_fails_the_play_wherever_it_is_lost(spared: int) -> None:
    assert not performed(Play(1, 3, 1, Forgetful("Carol", spared=spared))).passed


@pytest.mark.parametrize("service", [Forgetful, Tampering])
def test_a_broken_delivery_service_fails_the_play(service: type[DeliveryService]) -> None:
    performance = performed(Play(1, 4, 1, service()))
    assert not performance.passed
    assert not demonstrate([1], members=4, seed=1, as_json=True, service=service)


def test_a_play_that_fails_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert not demonstrate([1, 2], members=4, seed=1, as_json=False, service=Forgetful)
    shown = capsys.readouterr().out
    assert "✗" in shown
    assert "checks fail" in shown
    assert "all" not in shown.rsplit("\n", 2)[-2]


def test_those_who_can_read_are_counted() -> None:
    play = begun()
    copy, message = play.thief_of(play.members[1]), play.members[0].group.encrypt(b"open")
    play.read(copy, message)
    assert copy.heard[0].data == b"open"
    with pytest.raises(MLSError):
        play.read(copy, message)


def test_a_delivery_service_takes_one_commit_per_epoch() -> None:
    play = begun()
    first, second = (play.members[place].group.commit().message for place in (0, 1))
    before = len(play.delivery.log)
    assert play.delivery.post("Alice", first)
    assert not play.delivery.post("Bob", second)
    assert len(play.delivery.log) == before + 1


def test_talk_counts_what_is_heard() -> None:
    play = begun()
    assert talk(play) == "everyone speaks; 12 of 12 deliveries are read"


# The command.


def test_without_arguments_help_is_shown() -> None:
    shown = CliRunner().invoke(app, [])
    assert "inspect" in shown.output
    assert "demo" in shown.output


def test_the_version_is_shown() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output.split()[0]) == (0, "mls")


def test_json_is_for_programs() -> None:
    shown = CliRunner().invoke(app, ["demo", "--json", "--members", "3", "--seed", "1", "--suite", "all"])
    results = json.loads(shown.output)
    assert shown.exit_code == 0
    assert results["passed"] is True
    assert [suite["suite"] for suite in results["suites"]] == sorted(SUITES)
    assert {step["passed"] for suite in results["suites"] for step in suite["steps"]} == {True}


@pytest.mark.parametrize("arguments", [["--suite", "8"], ["--suite", "x"], ["--members", "2"], ["--members", "999"]])
def test_what_cannot_be_played_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["demo", *arguments]).exit_code == 2


@pytest.mark.parametrize("columns", [80, 100])
def test_the_report_fits_the_terminal(columns: int, performance: Performance) -> None:
    console = Console(file=io.StringIO(), width=columns, highlight=False)
    print_story(console, performance, members=8)
    print_comparison(console, [performance] * 7, members=8)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().split("\n")
    assert max(map(len, lines)) <= columns
    for title, _ in ACTS:
        assert any(line.startswith(title) for line in lines)


def test_what_is_piped_has_no_blank_at_the_end_of_a_line(performance: Performance) -> None:
    shown = {}
    for is_terminal in (False, True):
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, color_system=None, width=100, highlight=False)
        print_story(console, performance, members=8)
        shown[is_terminal] = file.getvalue().split("\n")
    assert [line for line in shown[False] if line.endswith(" ")] == []
    assert shown[False] == [line.rstrip(" ") for line in shown[True]]


def test_a_narrow_encoding_gets_plain_glyphs(performance: Performance) -> None:
    octets = io.BytesIO()
    with io.TextIOWrapper(octets, encoding="ascii", write_through=True) as file:
        print_story(Console(file=file, width=80, highlight=False), performance, members=8)
        shown = octets.getvalue().decode("ascii")
    assert "y all" in shown
    assert "* Alice" in shown


def test_a_missing_extra_is_named_in_one_sentence() -> None:
    program = "import sys; sys.modules['typer'] = None; from mls.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603  (our own)
    assert ended.returncode == 1
    assert ended.stderr.strip().count("\n") == 0
    assert "[cli]" in ended.stderr


# The picture.


@pytest.fixture(scope="module")
def performance() -> Performance:
    return performed(Play(1, 8, 1))


def test_a_picture_shows_names_blanks_and_unmerged_leaves() -> None:
    play = Play(1, 8, 1)
    next(step for step in perform(play) if step.title == "join late")
    tree = RatchetTree.decode(play.members[0].group.ratchet_tree)
    assert "\n".join(draw_tree(tree)) == PICTURE


def test_at_the_end_all_are_in_the_successor(performance: Performance) -> None:
    names = [slot.leaf_node().credential for _, slot in performance.tree.leaves()]
    assert len(names) == performance.tree.n_members == 9
    assert performance.suite == 1


def test_a_wide_tree_is_abbreviated() -> None:
    tree = RatchetTree.decode(begun(40).members[0].group.ratchet_tree)
    lines = list(draw_tree(tree))
    assert len(lines) < 2 * MAX_LEAVES_DRAWN
    assert any("leaves 0-3: Alice … Dave (4)" in line for line in lines)
    assert any("leaves 48-63, all blank" in line for line in lines)


def test_names_cannot_steer_the_terminal() -> None:
    play = Play(1, 3, 1)
    play.waiting[0] = play.new_player("\x1b[2JBob")
    found(play)
    add_everyone(play)
    tree = RatchetTree.decode(play.members[0].group.ratchet_tree)
    assert "\x1b" not in "".join(draw_tree(tree))


PICTURE = """\
               ┌─  0 ● Alice
         ┌─  1 ●
         │     └─  2 ● Bob
   ┌─  3 ●
   │     │     ┌─  4 ● Carol
   │     └─  5 ●
   │           └─  6 ● Dave
 7 ● unmerged: Zoe
   │           ┌─  8 ● Zoe +
   │     ┌─  9 ○
   │     │     └─ 10 ● Frank
   └─ 11 ○
         │     ┌─ 12 ● Grace
         └─ 13 ●
               └─ 14 ● Heidi"""
