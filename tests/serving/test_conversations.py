"""Conversations that are remembered: the official client, restarts, keys, and what comes back of older turns."""

from __future__ import annotations

import gc
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from hashing import HashEncoder
from served import TEXTS, Served, open_files

from memgpt_rag.answering.dialogue import Turn, finished_turns, search_query
from memgpt_rag.memory import Memory
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.serving.access import EVERYTHING, NOTHING, load_keys
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.chat_request import Message
from memgpt_rag.serving.conversations import Conversations, joined, stored_turn

KEYS = [
    {"key": "the-first-client-1", "name": "first", "read": ["*"]},
    {"key": "the-second-client-2", "name": "second", "read": ["*"]},
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with Served(folder, conversations=folder / "conversations") as served:
        yield served


@pytest.fixture(scope="module")
def client(served):
    return served.client()


def ask(client, question, conversation, *, user=openai.NOT_GIVEN, **memory):
    return client.chat.completions.create(
        model="park",
        messages=[{"role": "user", "content": question}],
        max_tokens=4,
        user=user,
        extra_body={"memory": {"conversation": conversation, "k": 4, **memory}},
    )


def entries(completion):
    return completion.model_dump()["memory"]["entries"]


def test_a_conversation_goes_on(client):
    first = ask(client, "When does the park open?", "trip")
    second = ask(client, "And the tea house?", "trip")
    alone = ask(client, "And the tea house?", "another-trip")
    assert second.usage.prompt_tokens > alone.usage.prompt_tokens  # the first turn was read
    items = client.conversations.items.list("trip", order="asc").data
    said = [(item.role, item.content[0].text) for item in items]
    assert said == [
        ("user", "When does the park open?"),
        ("assistant", first.choices[0].message.content),
        ("user", "And the tea house?"),
        ("assistant", second.choices[0].message.content),
    ]
    newest = client.conversations.items.list("trip", limit=1)
    assert newest.data[0].id == items[-1].id
    assert newest.has_more


def test_an_older_turn_comes_back_where_it_fits_better_than_the_entries(client):
    fact = "Our guide Yusuf wears a purple hat."
    ask(client, fact, "guide")
    for number in range(3):
        ask(client, f"What costs boat number {number}?", "guide")
    found = entries(ask(client, "Who is it?", "guide", query=fact))
    assert len(found) == 4
    (turn,) = [entry for entry in found if entry["text"].startswith(fact)]
    assert turn["source"] == "conversation/guide"
    assert turn["place"] == "conversation/guide, turn 1"
    assert turn["url"].endswith("/v1/conversations/guide/items")
    elsewhere = entries(ask(client, "Who is it?", "not-the-guide", query=fact))
    assert {entry["text"] for entry in elsewhere} <= set(TEXTS)
    # A turn that has nothing in common with the question leaves the entries to themselves.
    assert {entry["text"] for entry in entries(ask(client, TEXTS[1], "guide", k=1))} == {TEXTS[1]}


def test_the_address_of_a_turn_leads_to_it_for_a_user_too(served, client):
    fact = "Our guide Aylin wears a green hat."
    for question in (fact, "And then?", "And now?", "Why?"):
        found = entries(ask(client, question, "walk", user="ann & bob", query=fact))
    (turn,) = [entry for entry in found if entry["text"].startswith(fact)]
    with httpx2.Client() as http:
        items = http.get(turn["url"]).json()
        assert http.get(turn["url"].split("?")[0]).status_code == 404
    assert fact in [item["content"][0]["text"] for item in items["data"]]


def test_a_streamed_turn_is_on_disk_before_the_stream_ends(served, client):
    stream = client.chat.completions.create(
        model="park",
        messages=[{"role": "user", "content": TEXTS[2]}],
        max_tokens=4,
        stream=True,
        extra_body={"memory": {"conversation": "streamed"}},
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    again = Conversations(served.settings.conversations).get("streamed", EVERYTHING, "")
    (turn,) = again.turns()
    assert stored_turn(turn) == Turn(TEXTS[2], text)
    assert turn.metadata["about"] == "park"


def test_responses_belong_to_conversations_too(client):
    begun = client.conversations.create()
    assert begun.id.startswith("conv_")
    for conversation in (begun.id, {"id": begun.id}):
        response = client.responses.create(model="park", input=TEXTS[3], conversation=conversation, max_output_tokens=4)
    items = client.conversations.items.list(begun.id, order="asc").data
    assert [item.role for item in items] == ["user", "assistant"] * 2
    assert items[-1].content[0].text == response.output_text
    assert client.conversations.retrieve(begun.id).created_at == begun.created_at


def test_conversations_are_listed_exported_and_forgotten(served, client):
    ask(client, "Whose are the kites?", "kites")
    ask(client, "Whose are the dogs?", "dogs")
    with httpx2.Client(base_url=served.url) as http:
        ids = [one["id"] for one in http.get("/v1/conversations", params={"limit": 100}).json()["data"]]
        assert {"kites", "dogs"} <= set(ids)
        exported = http.get("/v1/conversations/kites/export")
        assert exported.headers["content-type"].startswith("application/jsonl")
        (line,) = map(json.loads, exported.text.splitlines())
        assert line["question"] == "Whose are the kites?"
        assert set(line) == {"question", "answer", "created_at", "about"}
    folder = served.settings.conversations
    before = {path.name for path in folder.iterdir()}
    assert client.conversations.delete("kites").deleted
    assert len(before - {path.name for path in folder.iterdir()}) == 1
    with pytest.raises(openai.NotFoundError, match="no conversation 'kites' of yours"):
        client.conversations.retrieve("kites")
    assert client.conversations.retrieve("dogs").id == "dogs"
    ask(client, "Whose are the kites?", "kites")  # begins anew
    assert len(client.conversations.items.list("kites").data) == 2


def test_a_clock_that_jumps_changes_dates_only(served, client, monkeypatch):
    """Deadlines go by a clock that cannot be set, and turns by their rows."""
    asked, now = [], time.time
    for number, hours in enumerate((0, -24, 24 * 365, -24 * 365)):
        monkeypatch.setattr(time, "time", lambda hours=hours: now() + 3600 * hours)
        asked.append(f"How high is wave number {number}?")
        completion = ask(client, asked[-1], "waves")
        assert abs(completion.created - now() - 3600 * hours) < 60
        assert completion.choices[0].finish_reason in ("stop", "length")
    with ThreadPoolExecutor(1) as pool:
        with served.held():
            waiting = pool.submit(ask, client, TEXTS[0], "another-wave")
            served.wait_for_waiting(1)
            monkeypatch.setattr(time, "time", lambda: now() + 3600 * 24 * 365)
        assert waiting.result(60).choices[0].finish_reason in ("stop", "length")
    monkeypatch.undo()
    items = client.conversations.items.list("waves", order="asc").data
    assert [item.content[0].text for item in items if item.role == "user"] == asked
    kept = Conversations(served.settings.conversations).get("waves", EVERYTHING, "")
    assert [turn.question for turn in kept.recent()] == asked[-2:]
    created = [turn.metadata["created_at"] for turn in kept.turns()]
    assert created[1] < created[0] < created[2] and created[3] < created[1]


def test_turns_survive_a_restart(tmp_path):
    for number in range(2):
        with Served(tmp_path / str(number), conversations=tmp_path / "kept") as served:
            client = served.client()
            ask(client, f"Question number {number}?", "long-lived", user="ann")
            with httpx2.Client(base_url=served.url) as http:
                items = http.get("/v1/conversations/long-lived/items", params={"user": "ann", "order": "asc"}).json()
    assert [item["content"][0]["text"] for item in items["data"]][::2] == ["Question number 0?", "Question number 1?"]


def test_keys_and_users_have_conversations_of_their_own(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    keys = load_keys(tmp_path / "keys.json")
    with Served(tmp_path, keys=keys, conversations=tmp_path / "kept") as served:
        first, second = (served.client(key["key"]) for key in KEYS)
        ask(first, TEXTS[0], "secret")
        with pytest.raises(openai.NotFoundError, match="no conversation 'secret' of yours"):
            second.conversations.items.list("secret")
        found = entries(ask(second, TEXTS[1], "secret", query=TEXTS[0]))
        assert {entry["source"] for entry in found} == {"text"}
        ask(first, TEXTS[1], "secret", user="ann")
        assert len(first.conversations.items.list("secret").data) == 2
        assert len(first.conversations.items.list("secret", extra_query={"user": "ann"}).data) == 2


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "line\n"])
def test_names_that_are_no_names_are_refused(served, client, name):
    before = sorted(served.settings.conversations.iterdir())
    with pytest.raises(openai.BadRequestError, match="memory.conversation"):
        ask(client, "Where am I?", name)
    assert sorted(served.settings.conversations.iterdir()) == before


def test_a_server_without_a_folder_remembers_nothing(tmp_path):
    with Served(tmp_path) as served:
        client = served.client()
        with pytest.raises(openai.PermissionDeniedError, match="start it with --remember DIR"):
            ask(client, "Do you remember me?", "me")
        with pytest.raises(openai.PermissionDeniedError, match="start it with --remember DIR"):
            client.conversations.retrieve("me")


def test_a_long_conversation_stays_in_order_and_in_few_files(tmp_path):
    encoder = HashEncoder()
    conversation = Conversations(tmp_path).begun("long", EVERYTHING, "")
    for number in range(40):
        conversation.add(Turn(f"What is fact {number}?", f"It is {number * 7}."), "park", encoder)
    turns = Conversations(tmp_path).get("long", EVERYTHING, "").turns()
    assert [stored_turn(turn).answer for turn in turns] == [f"It is {number * 7}." for number in range(40)]
    assert [turn.first for turn in turns] == list(range(1, 41))
    assert len(conversation.memory().manifest.segments) <= 16
    assert [stored_turn(turn) for turn in turns[-2:]] == conversation.recent()
    (best,) = conversation.recalled(["What is fact 17?", "fact"], encoder, [], 1)
    assert (stored_turn(best.passage).question, best.row) == ("What is fact 17?", -18)
    (other,) = conversation.recalled(["What is fact 17?", "fact"], encoder, ["What is fact 17?"], 1)
    assert other.row != best.row


def test_few_memories_stay_open_however_many_conversations_go_on(tmp_path):
    encoder, kept = HashEncoder(), Conversations(tmp_path)
    conversations = [kept.begun(f"talk-{number}", EVERYTHING, "") for number in range(40)]
    for _ in range(2):
        for number, conversation in enumerate(conversations):
            conversation.add(Turn(f"Who am I, {number}?", f"Number {number}."), "park", encoder)
    gc.collect()
    opened = [one for one in gc.get_objects() if type(one) is Memory and tmp_path in one.path.parents]
    assert 1 < len(opened) <= 32
    assert [path for path in open_files() if path.startswith(str(tmp_path))] == []
    for number in (0, 39):
        assert conversations[number].recent() == [Turn(f"Who am I, {number}?", f"Number {number}.")] * 2


def test_an_answer_on_its_way_does_not_bring_a_forgotten_conversation_back(tmp_path):
    kept = Conversations(tmp_path)
    conversation = kept.begun("gone", EVERYTHING, "")
    kept.forget(conversation)
    conversation.add(Turn("Am I still here?", "Yes."), "park", HashEncoder())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ApiError, match="no conversation 'gone'"):
        kept.get("gone", NOTHING, "")


def test_an_answer_that_says_nothing_is_no_part_of_the_entry(tmp_path):
    conversation = Conversations(tmp_path).begun("empty", EVERYTHING, "")
    for answer in ("", "not in memory", "At six."):
        conversation.add(Turn("When does it open?", answer), "park", HashEncoder())
    texts = [turn.text for turn in conversation.turns()]
    assert texts == ["When does it open?", "When does it open?", "When does it open? — At six."]
    assert [stored_turn(turn).answer for turn in conversation.turns()] == ["", "not in memory", "At six."]


def test_turns_and_entries_are_one_ranking_in_which_entries_keep_half(tmp_path):
    def found(scores, sign=1):
        return [Retrieved(sign * row, None, score, score) for row, score in enumerate(scores, 1)]

    ranked = joined(found([5.0, 4.0, 3.0, 2.0]), found([4.5, 4.4, 4.3], -1), 4)
    assert [entry.row for entry in ranked[:4]] == [1, -1, -2, 2]
    assert [entry.row for entry in joined(found([5.0, 4.0]), found([1.0], -1), 2)[:2]] == [1, 2]


def test_a_question_is_searched_for_with_the_last_two_turns():
    turns = [Turn("When does the park open?", "At six."), Turn("And in winter?", "At eight."), Turn("A" * 900, "")]
    assert search_query("Why?", []) == "Why?"
    assert search_query("Why?", turns[:1]) == "When does the park open? At six. Why?"
    assert search_query("Why?", turns[:2]) == "When does the park open? At six. And in winter? At eight. Why?"
    assert search_query("Why?", turns) == f"And in winter? At eight. {'A' * 200} Why?"


def test_turns_like_the_last_ones_do_not_crowd_out_what_the_question_alone_finds(tmp_path):
    conversation, encoder = Conversations(tmp_path).begun("waves", EVERYTHING, ""), HashEncoder(256)
    waves = [Turn(f"How high is wave {number}?", f"Wave {number} is {number} metres high.") for number in range(9)]
    for turn in [Turn("My dog is called Biscuit.", ""), *waves]:
        conversation.add(turn, "park", encoder)
    question = "What is my dog called?"
    queries, known = [question, search_query(question, waves)], [turn.question for turn in waves[-2:]]
    found = conversation.recalled(queries, encoder, known, 3)
    asked = [entry.passage.metadata["question"] for entry in found]
    assert asked[0] == "My dog is called Biscuit."
    assert set(asked[1:]) < {turn.question for turn in waves[:-2]}
    assert found[1].normalized_score > found[0].normalized_score


@pytest.mark.slow
@pytest.mark.offline_models
def test_facts_of_the_first_turns_are_known_after_sixty_turns(tmp_path, e5, gemma):
    from benchmarks.dialogue import FACTS, long_conversation
    from memgpt_rag.memory import Memory
    from memgpt_rag.rag import RAG

    rag = RAG(Memory.create(tmp_path / "park", TEXTS, e5), e5, gemma)
    known = long_conversation(rag, tmp_path / "conversations")
    assert known["turns"] == 60
    assert known["with memory"] >= len(FACTS) - 1
    assert known["last turns in the window"] == 0


def test_finished_turns_are_questions_with_their_answers():
    said = [
        ("system", "Be brief."),
        ("user", "A?"),
        ("assistant", "a"),
        ("user", "B?"),
        ("user", "C?"),
        ("assistant", "c"),
    ]
    messages = [Message(role=role, content=text) for role, text in [*said, ("user", "D?")]]
    assert finished_turns(messages) == [Turn("A?", "a"), Turn("C?", "c")]
    assert finished_turns(messages[-1:]) == []
